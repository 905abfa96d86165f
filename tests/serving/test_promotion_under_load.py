"""Promote, split, shadow and roll back while requests come in: the service follows within 5 s and fails none."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from load import load, post

from nextclick.bundle.pointer import in_challenger_arm
from nextclick.lifecycle.promotion import promote, rollback, shadow, split
from nextclick.lifecycle.records import Grounds
from nextclick.lifecycle.registry import Registry

from .conftest import PARAMS, write_params
from .test_service import MOMENT, Load

pytestmark = pytest.mark.timed
STAGE = {
    "cmd": "rm -rf models/bundle && cp -r given/$(cat which) models/bundle",
    "deps": ["which"],
    "outs": ["models/bundle"],
}


@pytest.fixture(scope="module")
def registry(bundles, tmp_path_factory) -> Registry:
    """Two versions, of which the first answers."""
    root = tmp_path_factory.mktemp("project")
    for name, bundle in zip("ab", bundles, strict=True):
        shutil.copytree(bundle, root / "given" / name)
    artifacts = {"recommender": {"path": "models/bundle", "type": "model"}}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": STAGE}, "artifacts": artifacts}))
    (root / ".gitignore").write_text("/data/\n/models/\n/given/\n.feast/\n*.log\n")
    patient = PARAMS.serving.model_copy(update={"max_wait_ms": 5000, "budget_ms": 2000, "drain_seconds": 2})
    write_params(root, PARAMS.model_copy(update={"serving": patient}))
    registry = Registry(root, "recommender")

    def run(*command: str) -> None:
        subprocess.run(command, cwd=root, check=True, capture_output=True)

    dvc = (sys.executable, "-m", "dvc")
    run("git", "init", "-q")
    run(*dvc, "init", "-q")
    made = []
    for which in "ab":
        (root / "which").write_text(which)
        (root / "models").mkdir(exist_ok=True)
        run(*dvc, "repro", "-q")
        run("git", "add", "-A")
        run("git", "-c", "user.name=Test", "-c", "user.email=test@localhost", "commit", "-qm", which)
        made.append(registry.register())
    promote(registry, made[0], Grounds())
    return registry


@pytest.fixture(scope="module")
def running(registry, serve):
    with serve(registry.root) as service:
        yield service


def follow(service, version: str, session: str = "s") -> float:
    """Seconds until a session's lists come from a version."""
    began = time.monotonic()
    while service.recommend(session)["model_version"] != version:
        assert time.monotonic() - began < 30
        time.sleep(0.02)
    return time.monotonic() - began


def swaps(service) -> str:
    return next(line for line in service.metrics().splitlines() if line.startswith("nextclick_bundle_swaps_total"))


@pytest.mark.ml_test("infra-7")
def test_a_running_service_follows_promotion_and_rollback_and_fails_no_request(registry, running):
    first, second = registry.versions()
    with Load(running.port) as requests:
        for change, version in (
            (lambda: promote(registry, second, Grounds()), second),
            (lambda: rollback(registry, None, Grounds()), first),
            (lambda: rollback(registry, second, Grounds()), second),
            (lambda: rollback(registry, first, Grounds()), first),
        ):
            change()
            assert follow(running, version.bundle) < 5
    assert set(requests.answers.statuses) == {200}, requests.answers.problems
    assert {json.loads(body)["model_version"] for body in requests.answers.bodies} == {first.bundle, second.bundle}


@pytest.mark.ml_test("infra-6")
def test_a_split_is_followed_sticky_and_a_shadow_logged(registry, running):
    first, second = registry.versions()
    split(registry, second, 0.3)
    ours = next(f"s{n}" for n in range(100) if in_challenger_arm(f"s{n}", second.bundle, 0.3))
    assert follow(running, second.bundle, ours) < 5
    asked = [
        post("/recommend", {"session_id": f"s{n % 40}", "clicks": [{"item_id": "i03", "timestamp": MOMENT}]})
        for n in range(400)
    ]
    answers = load(running.port, asked, 80, keep=True)
    assert set(answers.statuses) == {200}, answers.problems
    for answer in map(json.loads, answers.bodies):
        part = in_challenger_arm(answer["session_id"], second.bundle, 0.3)
        assert answer["model_version"] == (second if part else first).bundle
    split(registry, None, 0)
    assert follow(running, first.bundle, ours) < 5
    before = swaps(running)
    shadow(registry, second)
    deadline = time.monotonic() + 10
    while swaps(running) == before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    shown = running.recommend("watched")
    assert shown["model_version"] == first.bundle
    running.process.terminate()
    running.process.wait(timeout=30)
    logged = pq.ParquetDataset(list(Path(registry.root).glob("data/shadow/date=*/*.parquet"))).read()
    assert set(logged["model_version"].to_pylist()) == {second.bundle}
    assert shown["request_id"] in logged["request_id"].to_pylist()
