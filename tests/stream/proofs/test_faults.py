"""Exactly once in effect: consumers, broker and store are killed, paused and emptied, and states, offline log and
quarantine are those of a batch over the same events. Each planted bug is caught by the same judge.

`make test` has each kind of fault once; `python benchmarks/stream_chaos.py` runs the whole proof.
"""

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import redis as redis_client
from confluent_kafka.admin import AdminClient
from stream.conftest import wait_until

from nextclick.stream.kafka import client_config

STEPS = ["states", "sessions", "positions", "file", "log", "quarantine", "commit", "assigned", "revoked"]
REPORT = os.environ.get("NEXTCLICK_CHAOS_REPORT")
# a paused consumer loses its partitions soon; on busy cores no other does
SOON_GONE = ["--gone-after-ms", "3000"]
SOON = 60  # seconds within which a consumer comes to its step


# rounds: each a kill at every step and as many at random; with none, one kill at one step
@pytest.mark.fault(
    part="process",
    wrong="consumers, broker and Redis are killed at each of their steps, and a consumer sleeps through it",
    noticed="nobody has to",
    lost="nothing, and nothing counts twice",
    degraded="nothing",
    heals="by themselves: the next owner of a partition repeats what was not committed",
)
@pytest.mark.parametrize(
    ("sessions", "rounds"),
    [(300, 0), pytest.param(17_500, 2, marks=pytest.mark.proof)],  # 12 events a session
    ids=["small", "whole"],
)
@pytest.mark.timeout(3600)
def test_nothing_is_lost_and_nothing_counts_twice(
    tmp_path, mortal_broker, redis_server, make_live, trial, watcher, monkeypatch, sessions, rounds
):
    broker, store = mortal_broker, redis_server("--appendonly", "yes")
    live = make_live(tmp_path, broker.address, store.address, tmp_path.name, log_seconds=0.3, batch_events=200)
    for name, value in live.environment.items():
        monkeypatch.setenv(name, value)
    tried = trial(tmp_path, sessions)
    watching = watcher(tried)
    kills = 0
    producing = threading.Thread(target=tried.produce, args=(200 + rounds * 300,), daemon=True)
    try:
        producing.start()
        watching.start()
        live.consume(*SOON_GONE)
        # paused through all that follows, its partitions with others, and about to write when it wakes up
        sleeping = live.consume("--sleep", *SOON_GONE)
        wait_until_stopped(sleeping)
        for step in STEPS * rounds or ["log"]:
            kills += wait_or_kill(live.consume("--die-after", step, *SOON_GONE))
            if rounds:
                kills += kill_one(live, spared=sleeping)
            keep_running(live, 3)
        wait_until(lambda: "SLEEPER" not in members(tried.params.stream.group))
        live.signal(sleeping, signal.SIGCONT)
        broker.kill()
        time.sleep(1)
        broker.start()
        store.kill()  # with what it wrote to its file
        time.sleep(1)
        store.start()
        time.sleep(1)
        with watching.forgetting:
            redis_client.Redis(port=store.port).flushall()
            watching.forget()
        tried.hurry.set()
        producing.join()
        tried.wait_until_consumed()
        for one in alive(live)[1:]:  # down to one consumer
            live.signal(one, signal.SIGTERM)
        wait_until(lambda: len(alive(live)) == 1)
        undone = watching.stop()
        stop_all(live)
        found = tried.violations()
    finally:
        live.stop()
    if REPORT:
        facts = {"events": len(tried.events), "kills": kills, "reads": watching.reads, "rows": tried.rows_in_files()}
        Path(REPORT).write_text(
            json.dumps({**facts, "violations": len(undone) + len(found), "first": (undone + found)[:5]})
        )
    assert kills
    assert undone == []
    assert found == []


# what a planted bug needs beside it to show; the others show at once
HELP = {"commits_before_it_writes": ["--die-after", "sessions"], "writes_over_what_others_wrote": ["--sleep"]}
DAILY = ["commits_before_it_writes", "counts_repetitions_twice", "trusts_the_store"]
RARELY = [
    "writes_over_what_others_wrote",
    "drops_what_is_late_from_the_log",
    "applies_what_is_too_late",
    "forgets_the_broken",
]


@pytest.mark.parametrize("bug", [*DAILY, *(pytest.param(bug, marks=pytest.mark.proof) for bug in RARELY)])
def test_a_planted_bug_is_caught(live, trial, bug):
    tried = trial(live.root, 100)
    tried.produce()
    faulty = live.consume("--bug", bug, *HELP.get(bug, []), *SOON_GONE)
    if bug == "trusts_the_store":
        tried.wait_until_consumed(stored=False)
        redis_client.Redis.from_url(f"redis://{live.environment['NEXTCLICK_REDIS']}").flushall()
        time.sleep(2)  # in which one without the bug brings them back
    elif bug == "commits_before_it_writes":
        wait_or_kill(faulty)
        live.consume()
    elif bug == "writes_over_what_others_wrote":
        wait_until_stopped(faulty)
        live.consume()
    if bug != "trusts_the_store":
        tried.wait_until_consumed()
    if bug == "writes_over_what_others_wrote":
        live.signal(faulty, signal.SIGCONT)
        time.sleep(2)  # in which it writes
    stop_all(live)
    assert tried.violations()


def members(group: str) -> set[str]:
    """The names of those who share a topic's partitions."""
    asking = AdminClient(client_config())  # which has to live until it is told
    told = asking.describe_consumer_groups([group])[group].result(30)
    return {member.client_id for member in told.members}


def alive(live) -> list:
    return [process for process in live.consumers if process.is_alive()]


def keep_running(live, count: int) -> None:
    for _ in range(count - len(alive(live))):
        live.consume()


def wait_or_kill(process) -> int:
    """1 where the process died by itself, as it should."""
    process.join(SOON)
    died = process.exitcode is not None
    process.kill()
    process.join()
    return int(died)


def kill_one(live, spared) -> int:
    """The one that has run for longest, at some moment."""
    time.sleep(np.random.default_rng().uniform(0.5, 3))
    oldest = [process for process in alive(live) if process is not spared][:1]
    for process in oldest:
        process.kill()
        process.join()
    return len(oldest)


def wait_until_stopped(process) -> None:
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)


def stop_all(live) -> None:
    running = alive(live)
    for process in running:
        live.signal(process, signal.SIGTERM)
    for process in running:
        process.join(60)
        assert process.exitcode == 0
