"""Whatever dies while Ray trains or makes features, what comes out is what an undisturbed run gives."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from nextclick.engine.on_ray import OnRay
from nextclick.params import Pipeline, Ranker
from nextclick.ranking.ranker import Examples

ROUNDS = 200
PATIENCE = 400  # s: on a busy machine Ray alone takes minutes to start

pytestmark = pytest.mark.timeout(4 * PATIENCE)
TRAINING = Path(__file__).with_name("training.py")


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


def start(folder: Path, **environment: str) -> subprocess.Popen:
    command = [sys.executable, str(TRAINING), str(folder), "2", str(ROUNDS)]
    return subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def await_checkpoint(folder: Path, process: subprocess.Popen, rounds: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not list((folder / "checkpoints").glob(f"*-{rounds}.json")):
        assert process.poll() is None, process.stdout.read().decode()
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.005)


def finished(folder: Path, process: subprocess.Popen) -> bytes:
    said = process.communicate(timeout=PATIENCE)[0].decode()
    assert process.returncode == 0, said
    return (folder / "model.ubj").read_bytes()


@pytest.fixture(scope="module")
def whole(examples, tmp_path_factory) -> bytes:
    """The model of a run that nothing disturbed."""
    folder = prepared(tmp_path_factory.mktemp("whole"), examples)
    return finished(folder, start(folder))


def workers_of(process: subprocess.Popen) -> list[psutil.Process]:
    """Those that train now."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "RayTrainWorker" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.mark.ml_test("infra-2")
def test_when_a_worker_and_then_the_driver_are_killed_training_goes_on_from_the_last_checkpoint(
    examples, whole, tmp_path
):
    folder = prepared(tmp_path, examples)
    process = start(folder)
    await_checkpoint(folder, process, 20)
    first = workers_of(process)
    assert len(first) == 2
    first[1].kill()
    await_checkpoint(folder, process, 100)
    second = workers_of(process)
    assert len(second) == 2
    assert not {worker.pid for worker in first} & {worker.pid for worker in second}
    cluster = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for left in psutil.wait_procs(cluster, timeout=10)[1]:  # which look only now and then whether the rest is there
        with suppress(psutil.NoSuchProcess):
            left.kill()
    assert not (folder / "model.ubj").exists(), "the driver was killed only when all was over"
    kept = {path: path.stat().st_mtime_ns for path in (folder / "checkpoints").glob("*.json")}
    assert finished(folder, start(folder)) == whole
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "it began anew"


@pytest.fixture
def cluster():
    """Two nodes of one worker each."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_lost_node_is_done_without_once_another_has_come(cluster, examples, whole, tmp_path):
    lost = cluster.add_node(num_cpus=1)
    folder = prepared(tmp_path, examples)
    process = start(folder, RAY_ADDRESS=cluster.address)
    await_checkpoint(folder, process, 20)
    cluster.remove_node(lost, allow_graceful=False)
    cluster.add_node(num_cpus=1)
    assert finished(folder, process) == whole


def test_more_than_the_object_store_holds_goes_to_disk(tmp_path):
    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
    try:
        engine = OnRay(Pipeline(engine="ray", workers=1))
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
