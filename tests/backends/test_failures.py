"""Whatever dies while Ray trains or makes features, what comes out is what an undisturbed run gives."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from nextclick.backends.backend import Backend
from nextclick.backends.ray_backend import RayBackend
from nextclick.params import Pipeline, Ranker
from nextclick.ranking.ranker import Examples

PARAMS = Ranker(rounds=200, checkpoint_rounds=10, max_depth=3, min_child_weight=1)
PATIENCE = 400  # s: on a busy machine Ray alone takes minutes to start

pytestmark = pytest.mark.timeout(4 * PATIENCE)
TRAINING = Path(__file__).with_name("training.py")


def start(folder: Path, params: Ranker, **environment: str) -> subprocess.Popen:
    command = [sys.executable, str(TRAINING), str(folder), "2", params.model_dump_json()]
    return subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def checkpoints(folder: Path) -> set[int]:
    """Their rounds."""
    found = (re.fullmatch(r"[0-9a-f]+-(\d+)", path.stem) for path in (folder / "checkpoints").glob("*.json"))
    return {int(match[1]) for match in found if match}


def wait_until(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.stdout.read().decode()
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


def finished(folder: Path, process: subprocess.Popen) -> bytes:
    said = process.communicate(timeout=PATIENCE)[0].decode()
    assert process.returncode == 0, said
    return (folder / "model.ubj").read_bytes()


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """Those that train now."""
    found = []
    for child in process.children(recursive=True):
        with suppress(psutil.Error):
            if "RayTrainWorker" in " ".join(child.cmdline()):
                found.append(child)
    return found


def kill_a_worker(folder: Path, process: subprocess.Popen, cluster: psutil.Process) -> None:
    """Kills one of two, and waits until two others have gone on."""
    wait_until(lambda: len(checkpoints(folder)) > 0, process)
    first = workers_of(cluster)
    assert len(first) == 2
    first[1].kill()
    wait_until(lambda: len(set(workers_of(cluster)) - set(first)) == 2, process)
    before = max(checkpoints(folder))
    wait_until(lambda: max(checkpoints(folder)) > before, process)


@pytest.mark.fault(
    part="process",
    wrong="a worker and then the driver of a training on Ray are killed",
    noticed="whoever runs it",
    lost="the rounds since the last checkpoint, which are trained again",
    degraded="nothing",
    heals="when it is started again",
)
@pytest.mark.ml_test("infra-2")
def test_when_a_worker_and_then_the_driver_are_killed_training_goes_on_from_the_last_checkpoint(
    on_ray, parts, ranker_params, trained, tmp_path
):
    for name, part in zip(("learned", "held_out"), parts, strict=True):
        part.save(tmp_path / name)
    process = start(tmp_path, ranker_params, RAY_ADDRESS=ray.get_runtime_context().gcs_address)
    wait_until(lambda: not workers_of(psutil.Process()), process)  # those of the run before
    kill_a_worker(tmp_path, process, psutil.Process())
    process.kill()
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").glob("*.json")}
    assert max(checkpoints(tmp_path)) < ranker_params.rounds, "the driver was killed only when all was over"
    learned, held_out = parts
    booster, _ = on_ray.train(learned, ranker_params, 1, 1, held_out=held_out, checkpoints=tmp_path / "checkpoints")
    assert booster.save_raw("ubj") == trained[0]["two"].save_raw("ubj")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "it began anew"


def test_more_than_the_object_store_holds_goes_to_disk(on_ray, seen):
    """The tests' cluster has as small a store as Ray lets have."""
    store = 80 * 2**20
    assert ray.cluster_resources()["object_store_memory"] <= store
    held = [ray.put(np.full(5_000_000, number, np.float32)) for number in range(8)]  # twice what it holds
    assert 1.5 * store < 8 * 4 * 5_000_000
    here, there = (engine.examples(*seen, 10, 0) for engine in (Backend(), on_ray))
    assert here.features.tobytes() == there.features.tobytes()
    assert [int(ray.get(reference)[0]) for reference in held] == list(range(8))


@pytest.fixture(scope="module")
def examples() -> Examples:
    random = np.random.default_rng(0)
    features = random.standard_normal((20_000, 8)).astype(np.float32)
    labels = np.zeros(20_000, np.float32)
    labels[np.arange(0, 20_000, 10) + features.reshape(2000, 10, -1)[:, :, 3].argmax(axis=1)] = 1
    return Examples(features, labels, np.full(2000, 10), 1.0, tuple("abcdefgh"))


def prepared(folder: Path, examples: Examples) -> Path:
    examples.take_groups(0, 1600).save(folder / "learned")
    examples.take_groups(1600, 2000).save(folder / "held_out")
    return folder


@pytest.fixture(scope="module")
def whole(examples, tmp_path_factory) -> bytes:
    """The model of a run that nothing disturbed."""
    folder = prepared(tmp_path_factory.mktemp("whole"), examples)
    return finished(folder, start(folder, PARAMS))


@pytest.mark.proof
def test_a_driver_that_had_started_its_own_cluster_goes_on_from_the_last_checkpoint_when_started_again(
    examples, whole, tmp_path
):
    folder = prepared(tmp_path, examples)
    process = start(folder, PARAMS)
    kill_a_worker(folder, process, psutil.Process(process.pid))
    wait_until(lambda: max(checkpoints(folder)) >= 100, process)
    cluster = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for left in psutil.wait_procs(cluster, timeout=10)[1]:  # which look only now and then whether the rest is there
        with suppress(psutil.NoSuchProcess):
            left.kill()
    assert not (folder / "model.ubj").exists(), "the driver was killed only when all was over"
    kept = {path: path.stat().st_mtime_ns for path in (folder / "checkpoints").glob("*.json")}
    assert finished(folder, start(folder, PARAMS)) == whole
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "it began anew"


@pytest.fixture
def cluster():
    """Two nodes of one worker each."""
    ray.shutdown()
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.fault(
    part="process",
    wrong="a node of the Ray cluster is lost",
    noticed="Ray",
    lost="the work of that node, which is done again",
    degraded="nothing",
    heals="by itself, once another has come",
)
@pytest.mark.proof
def test_a_lost_node_is_done_without_once_another_has_come(cluster, examples, whole, tmp_path):
    """Small: a killed worker, which to those that train is the same."""
    lost = cluster.add_node(num_cpus=1)
    folder = prepared(tmp_path, examples)
    process = start(folder, PARAMS, RAY_ADDRESS=cluster.address)
    wait_until(lambda: 20 in checkpoints(folder), process)
    cluster.remove_node(lost, allow_graceful=False)
    cluster.add_node(num_cpus=1)
    assert finished(folder, process) == whole


@pytest.mark.proof
def test_a_run_beside_a_full_object_store_trains_and_loses_nothing(tmp_path):
    ray.shutdown()
    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
    try:
        engine = RayBackend(Pipeline(engine="ray", workers=1))
        held = [ray.put(np.full(5_000_000, number, np.float32)) for number in range(8)]  # twice what it holds
        random = np.random.default_rng(0)
        features = random.standard_normal((5_000, 8)).astype(np.float32)
        labels = np.tile(np.eye(1, 10, dtype=np.float32)[0], 500)
        examples = Examples(features, labels, np.full(500, 10), 1.0, tuple("abcdefgh"))
        small = Ranker(rounds=4, checkpoint_rounds=2, max_depth=3)
        booster, _ = engine.train(
            examples, small, 1, 1, held_out=examples.take_groups(0, 50), checkpoints=tmp_path / "checkpoints"
        )
        assert booster.num_boosted_rounds() == 4
        assert [int(ray.get(reference)[0]) for reference in held] == list(range(8))
    finally:
        ray.shutdown()
