"""A stage that was killed half-way ends, when run again, with the hashes of one that was not."""

import hashlib
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
import yaml

from .stages import STAGES


@pytest.fixture(scope="module")
def interrupted(clone, runs):
    return clone("interrupted")


def is_half_way(root: Path, stage: str) -> bool:
    """Whether the stage is just writing its result, has made a checkpoint, or has run half of a notebook's cells."""
    if stage == "train":
        return any(root.glob(".checkpoints/*.json"))
    notebooks = [Path(dep).stem for dep in STAGES[stage]["deps"] if dep.startswith("notebooks/")]
    if not notebooks:
        return any(root.glob(f"data/*/.scratch-{stage}*/*.parquet"))
    executed = root / f"reports/notebooks/.running-{notebooks[0]}/executed.ipynb"
    text = executed.read_text() if executed.exists() else ""
    return text.count('"status": "completed"') > text.count('"status": "pending"') > 0


def kill_half_way(clone, stage: str) -> list[psutil.Process]:
    """kill -9 of all that `dvc repro` started, as soon as the stage is half-way; returns the processes there were."""
    process = clone.start(".venv/bin/dvc", "repro", stage)
    deadline = time.monotonic() + 900
    while not is_half_way(clone.root, stage):
        assert process.poll() is None, f"{stage} ended before it could be killed: {process.stdout.read()}"
        assert time.monotonic() < deadline, f"{stage} did not come half-way"
        time.sleep(0.001)
    started = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return started


def hashes(lock: bytes, stage: str) -> dict[str, str]:
    return {out["path"]: out["md5"] for out in yaml.safe_load(lock)["stages"][stage]["outs"]}


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_ends_with_the_hashes_of_an_uninterrupted_one(interrupted, runs, stage):
    root, whole, before = interrupted.root, hashes(runs.repeated_lock, stage), hashes(interrupted.lock, stage)
    started = kill_half_way(interrupted, stage)
    assert hashes(interrupted.lock, stage) == before
    assert f"{stage}:" in interrupted.dvc("status", stage), "what was killed counts as done"
    written = [out for out in whole if (root / out).is_file()]
    assert {out: hashlib.md5((root / out).read_bytes()).hexdigest() for out in written} == {
        out: whole[out] for out in written
    }, "a file that is there is not whole"

    interrupted.dvc("repro", stage)
    assert hashes(interrupted.lock, stage) == whole
    assert not [path for path in root.glob("*/*/.*") if path.is_dir()], "a scratch folder stayed behind"
    assert not psutil.wait_procs(started, timeout=10)[1], "a process outlived the run that was killed"


def test_after_all_that_the_lock_is_the_same_to_the_byte(interrupted, runs):
    assert "Data and pipelines are up to date" in interrupted.dvc("repro")
    assert interrupted.lock == runs.repeated_lock
