"""On a real Ray cluster of two workers every step gives what it gives in this process."""

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import ray

from nextclick.backends.backend import Backend, backend_of
from nextclick.errors import InputError
from nextclick.evaluation.metrics import per_prediction, ranks_of
from nextclick.evaluation.statistics.bootstrap import bootstrap_interval
from nextclick.events.prefixes import next_clicks
from nextclick.params import Pipeline
from nextclick.ranking import recommender as ranking
from nextclick.ranking.recommender import Recommender


def test_a_folder_of_files_makes_the_same_log_as_one_file(on_ray, events, log, event_types, tmp_path):
    """Ray Data brings the events of a session together, wherever they lie."""
    events = events.sample(frac=1, random_state=0)
    for number, part in enumerate(np.array_split(np.arange(len(events)), 3)):
        events.iloc[part].to_parquet(tmp_path / f"{number}.parquet")
    read = on_ray.read(tmp_path, event_types)
    assert read.vocabulary.ids.tolist() == log.vocabulary.ids.tolist()
    for name in ("offsets", "items", "types", "times", "session_ids"):
        one, other = getattr(log, name), getattr(read, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_an_empty_log_is_read_as_such(on_ray, events, event_types, tmp_path):
    events.iloc[:0].to_parquet(tmp_path / "none.parquet")
    assert on_ray.read(tmp_path, event_types).n_sessions == 0


def test_examples_are_the_same_to_the_byte(on_ray, seen):
    snapshot, prefixes = seen
    assert len(ranking.chunks(prefixes)) > 2
    here, there = (engine.examples(snapshot, prefixes, 10, 0) for engine in (Backend(), on_ray))
    assert here.names == there.names
    assert here.recall == there.recall
    for name in ("features", "labels", "groups"):
        assert getattr(here, name).tobytes() == getattr(there, name).tobytes()


def test_one_worker_trains_the_same_ranker_and_two_one_as_good(on_ray, seen, log, trained):
    """One trains alone where fewer groups are held out than there are workers."""
    snapshot, _ = seen
    boosters, _ = trained
    raw = {name: booster.save_raw("ubj") for name, booster in boosters.items()}
    assert raw["local"] == raw["one"] != raw["two"]
    asked = next_clicks(log)
    lists = {name: on_ray.recommend(Recommender.of(snapshot, booster), asked, 10) for name, booster in boosters.items()}
    np.testing.assert_array_equal(lists["local"], Recommender.of(snapshot, boosters["local"]).recommend(asked, 10))
    np.testing.assert_array_equal(lists["local"], lists["one"])
    mrr = {name: per_prediction(ranks_of(found, asked.targets), 10)["mrr@10"] for name, found in lists.items()}
    low, high = bootstrap_interval(mrr["local"], asked.sessions, 0)
    assert low <= mrr["two"].mean() <= high


def test_no_prediction_gives_no_list(on_ray, seen, trained):
    snapshot, prefixes = seen
    recommender = Recommender.of(snapshot, trained[0]["local"])
    assert on_ray.recommend(recommender, prefixes.take(slice(0, 0)), 10).shape == (0, 10)


def test_nothing_of_a_cluster_that_is_started_here_listens_beyond_loopback(trained):
    """But the workers that train together: XGBoost binds the port at which they hear that one of them has failed to
    every address, and can not be told otherwise (docs/scale.md)."""
    _, heard = trained
    assert {"raylet", "gcs_server"} <= {name for name, _ in heard}
    beyond = {name for name, address in heard if address not in ("127.0.0.1", "::1", "::ffff:127.0.0.1")}
    assert all(name.startswith("ray::RayTrain") for name in beyond), heard


def test_nothing_of_ray_is_imported_where_the_engine_is_local():
    code = "import sys, nextclick.cli, nextclick.backends.backend; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def no_cluster():
    """Last of all: it ends the one of these tests."""
    ray.shutdown()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", r"no Ray cluster at 127\.0\.0\.1:1: .*refused"),
        ("localhost", "expected host:port .* found 'localhost'"),
        ("ray://127.0.0.1:10001", "expected host:port .* found 'ray://"),
        ("auto", "Could not find any running Ray"),
    ],
)
def test_a_cluster_that_is_not_there_is_named(no_cluster, monkeypatch, address, reason):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match=f"RAY_ADDRESS: .*{reason}"):
        backend_of(Pipeline(engine="ray"))


def test_what_answers_but_is_no_cluster_is_named(no_cluster, monkeypatch):
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.server_port}")
        with pytest.raises(InputError, match=r"what answers at .* is not the head of a Ray cluster"):
            backend_of(Pipeline(engine="ray"))


def test_a_cluster_that_is_started_here_leaves_nothing_behind(tmp_path):
    """And no other is taken for it, nor asked for its token: it has one of its own, that no file holds."""
    code = """if True:
        from nextclick.backends.backend import backend_of
        from nextclick.params import Pipeline
        backend_of(Pipeline(engine="ray", workers=1))
        import os, ray
        assert os.environ["RAY_AUTH_MODE"] == "token" and len(os.environ["RAY_AUTH_TOKEN"]) >= 32
        print(ray.get_runtime_context().gcs_address, ray._private.worker.global_worker.node.get_session_dir_path())
    """
    unset = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=unset | {"HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    address, session = done.stdout.split()
    assert address.startswith("127.0.0.1:")
    own = Path(session).parent
    assert (own.parent, own.name[:4]) == (Path("/tmp"), "ray-")
    assert not own.exists()
    process = session.rpartition("_")[2]
    assert not list(Path("/tmp").glob(f"ray*/session_*_{process}"))
    assert not (tmp_path / ".ray").exists()
