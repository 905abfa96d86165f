"""On a real Ray cluster of two workers every step gives what it gives in this process."""

import subprocess
import sys
from contextlib import suppress

import numpy as np
import pandas as pd
import psutil
import pytest
import ray

from nextclick.engine.engine import Local, engine_of
from nextclick.errors import InputError
from nextclick.evaluation.metrics import interval, per_prediction, ranks_of
from nextclick.events.prefixes import next_clicks
from nextclick.events.sessions import SessionLog
from nextclick.params import Features, Pipeline, Ranker, Retrieval
from nextclick.ranking import recommender as ranking
from nextclick.ranking.ranker import hold_out
from nextclick.ranking.recommender import Recommender, example_snapshot

TYPES = ["view", "cart", "purchase"]
RANKER = Ranker(rounds=20, checkpoint_rounds=10, max_depth=3, min_child_weight=1, negatives=10)
RETRIEVAL = Retrieval(dimensions=8, encoder_epochs=1, width=30, nearest=10)


@pytest.fixture(scope="module")
def on_ray():
    yield engine_of(Pipeline(engine="ray", workers=2))
    ray.shutdown()


@pytest.fixture(scope="module")
def events(shop_events) -> pd.DataFrame:
    return shop_events(400, 3)


@pytest.fixture(scope="module")
def log(events) -> SessionLog:
    return SessionLog.from_events(events, TYPES)


@pytest.fixture(autouse=True)
def _several_chunks(monkeypatch):
    monkeypatch.setattr(ranking, "CHUNK", 150)


@pytest.fixture(scope="module")
def seen(log):
    """A snapshot, and the predictions to learn from."""
    return example_snapshot(log, RETRIEVAL, RANKER, Features(item_stats_every=6), 0, event_types=TYPES)


def test_a_folder_of_files_makes_the_same_log_as_one_file(on_ray, events, log, tmp_path):
    """Ray Data brings the events of a session together, wherever they lie."""
    events = events.sample(frac=1, random_state=0)
    for number, part in enumerate(np.array_split(np.arange(len(events)), 3)):
        events.iloc[part].to_parquet(tmp_path / f"{number}.parquet")
    read = on_ray.read(tmp_path, TYPES)
    assert read.vocabulary.ids.tolist() == log.vocabulary.ids.tolist()
    for name in ("offsets", "items", "types", "times", "session_ids"):
        one, other = getattr(log, name), getattr(read, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_examples_are_the_same_to_the_byte(on_ray, seen):
    snapshot, prefixes = seen
    assert len(ranking.chunks(prefixes)) > 2
    here, there = (engine.examples(snapshot, prefixes, 10, 0) for engine in (Local(), on_ray))
    assert here.names == there.names
    assert here.recall == there.recall
    for name in ("features", "labels", "groups"):
        assert getattr(here, name).tobytes() == getattr(there, name).tobytes()


def test_one_worker_trains_the_same_ranker_and_two_one_as_good(on_ray, seen, log, tmp_path):
    snapshot, prefixes = seen
    examples = Local().examples(snapshot, prefixes, 10, 0)
    learned, held_out = hold_out(examples, 0.2)
    boosters = []
    for name, engine in (
        ("local", Local()),
        ("one", engine_of(Pipeline(engine="ray", workers=1))),
        ("two", on_ray),
    ):
        booster, curves = engine.train(learned, RANKER, 1, 1, held_out=held_out, checkpoints=tmp_path / name)
        assert len(curves["held_out"]) == RANKER.rounds
        boosters.append(booster)
    raw = [booster.save_raw("ubj") for booster in boosters]
    assert raw[0] == raw[1] != raw[2]
    asked = next_clicks(log)
    local, one, two = (on_ray.recommend(Recommender(snapshot, booster), asked, 10) for booster in boosters)
    np.testing.assert_array_equal(local, Recommender(snapshot, boosters[0]).recommend(asked, 10))
    np.testing.assert_array_equal(local, one)
    mrr = per_prediction(ranks_of(local, asked.targets), 10)["mrr@10"]
    low, high = interval(mrr, asked.sessions, 0)
    assert low <= per_prediction(ranks_of(two, asked.targets), 10)["mrr@10"].mean() <= high
    assert not list(tmp_path.glob("*/ray-*")), "what was only for the workers stayed behind"


def test_where_fewer_groups_are_held_out_than_there_are_workers_fewer_train(on_ray, seen, tmp_path):
    snapshot, prefixes = seen
    examples = Local().examples(snapshot, prefixes, 10, 0)
    few = RANKER.model_copy(update={"rounds": 2})
    booster, curves = on_ray.train(examples, few, 1, 1, held_out=examples.take_groups(0, 1), checkpoints=tmp_path)
    assert booster.num_boosted_rounds() == len(curves["held_out"]) == 2


def test_no_prediction_gives_no_list(on_ray, seen):
    snapshot, prefixes = seen
    booster, _ = Local().train(
        Local().examples(snapshot, prefixes, 10, 0), RANKER, 1, 1,
        held_out=Local().examples(snapshot, prefixes.take(slice(0, 50)), 10, 0), checkpoints=None,
    )  # fmt: skip
    assert on_ray.recommend(Recommender(snapshot, booster), prefixes.take(slice(0, 0)), 10).shape == (0, 10)


def test_nothing_of_a_cluster_that_is_started_here_listens_beyond_loopback(on_ray):
    heard = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a worker that has just ended
            heard += [c for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert heard
    assert {listening.laddr.ip for listening in heard} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_nothing_of_ray_is_imported_where_the_engine_is_local():
    code = "import sys, nextclick.cli, nextclick.engine.engine; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_cluster_that_is_not_there_is_named(monkeypatch):
    ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(InputError, match=r"RAY_ADDRESS: no Ray cluster at 127\.0\.0\.1:1"):
        engine_of(Pipeline(engine="ray"))
