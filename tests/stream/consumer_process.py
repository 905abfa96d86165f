"""`nextclick stream` in a process of its own; on demand it dies or sleeps at the worst moment, or has a planted bug.

Run by `Live.consume`, which gives ROOT, LOG, ENVIRONMENT and ARGUMENTS: [--die-after STEP] [--sleep] [--bug BUG]
[--gone-after-ms MS] [--patience S], and those of the command.

Not part of the package: it changes the package's functions from outside, in its own process.
"""

import argparse
import os
import signal
from bisect import insort

import pyarrow.compute as pc
from redis.exceptions import ResponseError

from nextclick.cli import app
from nextclick.events.prefixes import KEPT_EVENTS
from nextclick.features.store import redis_rows
from nextclick.features.store.online import OnlineStates
from nextclick.logs.event_log import EventLog
from nextclick.stream import consumer as module
from nextclick.stream import kafka
from nextclick.stream.consumer import StreamConsumer
from nextclick.stream.live_events import LiveEvents
from nextclick.stream.quarantine import Quarantine
from nextclick.stream.topic import TopicIdentity


def die_after(owner: type, name: str, calls: int) -> None:
    """kill -9 of this process once the method has returned so many times."""
    done, left = getattr(owner, name), [calls]

    def last(*args, **kwargs):
        found = done(*args, **kwargs)
        left[0] -= 1
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(owner, name, last)


def sleep_before_it_writes(calls: int) -> None:
    """SIGSTOP of this process, the group's SLEEPER, when it has read states and is about to write them."""
    config = module.client_config
    module.client_config = lambda **more: config(**more | {"client.id": "SLEEPER"})
    row, left = redis_rows.RedisRows._row, [calls]

    def stopped(self, state):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        return row(self, state)

    redis_rows.RedisRows._row = stopped


STEPS = {
    "states": (LiveEvents, "apply", 3),  # in the store, nothing else
    "sessions": (OnlineStates, "merge", 5),
    "positions": (StreamConsumer, "_move_positions", 3),
    "file": (EventLog, "_write", 2),  # the file of one date, not of the next
    "log": (LiveEvents, "flush", 2),  # in the log, not committed
    "quarantine": (Quarantine, "flush", 2),
    "commit": (StreamConsumer, "_flush_and_commit", 2),
    "assigned": (StreamConsumer, "_assigned", 1),  # in a rebalance
    "revoked": (StreamConsumer, "_flush_and_commit", 1),
}


def commits_before_it_writes() -> None:
    process = StreamConsumer._process

    def early(self, batch):
        self._next_offset |= {one.partition: one.offset + 1 for one in batch}
        self._consumer.commit(
            offsets=[module.TopicPartition(self._params.topic, p, o) for p, o in self._next_offset.items()],
            asynchronous=False,
        )
        process(self, batch)

    StreamConsumer._process = early


def counts_repetitions_twice() -> None:
    def advance_all(state, clicks):
        kept = list(state)
        for click in clicks:
            insort(kept, click)
        return tuple(kept[-KEPT_EVENTS:])

    redis_rows.advance_all = advance_all


def writes_over_what_others_wrote() -> None:
    redis_rows._REPLACE_UNCHANGED = "redis.call('HSET', KEYS[1], unpack(ARGV, 6)) return 1"


def trusts_the_store() -> None:
    module.redis_client = lambda store: None  # no positions


def drops_what_is_late_from_the_log() -> None:
    buffer = LiveEvents.buffer
    LiveEvents.buffer = lambda self, events: buffer(self, events.filter(pc.invert(events["late"])))


def applies_what_is_too_late() -> None:
    apply = LiveEvents.apply
    LiveEvents.apply = lambda self, events: apply(
        self, events.set_column(events.column_names.index("late"), "late", [[False] * events.num_rows])
    )


def forgets_the_broken() -> None:
    Quarantine.put = lambda *_: None


def takes_all_topics_of_a_name_for_one() -> None:
    TopicIdentity.read = lambda *_: "the same"


def waits_for_rows_that_nobody_can_read() -> None:
    def refuse(error):
        if isinstance(error, ResponseError):
            raise error
        return False

    redis_rows.is_of_one_row = refuse


BUGS = {
    bug.__name__: bug
    for bug in (
        commits_before_it_writes,
        counts_repetitions_twice,
        writes_over_what_others_wrote,
        trusts_the_store,
        drops_what_is_late_from_the_log,
        applies_what_is_too_late,
        forgets_the_broken,
        takes_all_topics_of_a_name_for_one,
        waits_for_rows_that_nobody_can_read,
    )
}

if __name__ == "__main__":
    about = globals()
    os.chdir(about["ROOT"])
    for name in [name for name in os.environ if name.startswith("NEXTCLICK_KAFKA")]:
        del os.environ[name]  # of the test that was the first to start one
    os.environ.update(about["ENVIRONMENT"])
    said = os.open(about["LOG"], os.O_CREAT | os.O_WRONLY, 0o644)
    os.dup2(said, 1)
    os.dup2(said, 2)
    asked = argparse.ArgumentParser()
    asked.add_argument("--die-after", choices=STEPS)
    asked.add_argument("--sleep", action="store_true")
    asked.add_argument("--bug", choices=BUGS)
    asked.add_argument("--gone-after-ms", type=int, default=module.SESSION_TIMEOUT_MS)
    asked.add_argument("--patience", type=float, default=kafka.BROKER_TIMEOUT)
    given, others = asked.parse_known_args(about["ARGUMENTS"])
    module.SESSION_TIMEOUT_MS, kafka.BROKER_TIMEOUT = given.gone_after_ms, given.patience
    if given.bug:
        BUGS[given.bug]()
    if given.die_after:
        die_after(*STEPS[given.die_after])
    if given.sleep:
        sleep_before_it_writes(20)
    app(["stream", *others])
