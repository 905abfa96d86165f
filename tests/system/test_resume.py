"""A stage that was killed half-way ends, when run again, with the hashes of one that was not; and two clean clones give
the same dvc.lock."""

import hashlib
import os
import signal
import time
from contextlib import chdir
from pathlib import Path

import psutil
import pytest
import yaml
from typer.testing import CliRunner

from nextclick.cli import app

from .stages import STAGES, locked, stages_run

# one of each way in which a stage writes: files moved into place, a notebook, and a notebook with checkpoints
KILLED = ("ingest", "features", "train")
JUDGED = list(STAGES)[: list(STAGES).index("evaluate") + 1]


@pytest.fixture(scope="module")
def interrupted(clone):
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


@pytest.mark.fault(
    part="process",
    wrong="a stage of the pipeline is killed, and run again",
    noticed="nobody has to",
    lost="nothing: the same bytes result",
    degraded="nothing",
    heals="by the next `dvc repro`",
)
@pytest.mark.parametrize(
    "stage", [stage if stage in KILLED else pytest.param(stage, marks=pytest.mark.proof) for stage in STAGES]
)
def test_a_killed_stage_ends_with_the_hashes_of_an_uninterrupted_one(interrupted, made, stage):
    root, whole, before = interrupted.root, hashes(made.lock, stage), hashes(interrupted.lock, stage)
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


@pytest.mark.ml_test("infra-1")
def test_two_clean_clones_agree_on_every_stage_up_to_the_figures(interrupted, made):
    interrupted.dvc("repro", "explore", "evaluate")
    assert "up to date" in interrupted.dvc("repro", "explore", "evaluate")
    assert locked(interrupted.lock, JUDGED) == locked(made.lock, JUDGED)


@pytest.mark.proof
def test_after_all_that_the_lock_is_the_same_to_the_byte(interrupted, made):
    interrupted.dvc("repro")
    assert "Data and pipelines are up to date" in interrupted.dvc("repro")
    assert interrupted.lock == made.lock


@pytest.mark.proof
def test_a_clone_that_compiles_all_for_itself_gives_the_same_lock_to_the_byte(clone, made):
    alone = clone("alone", compiled=False)
    alone.dvc("repro")
    assert alone.lock == made.lock


@pytest.mark.fault(
    part="process",
    wrong="a stage is killed while it writes a file",
    noticed="nobody has to: files appear whole",
    lost="nothing",
    degraded="nothing",
    heals="by the next `dvc repro`",
)
def test_no_stage_shows_a_file_before_it_is_whole(tmp_path, small_params, monkeypatch):
    """Each makes its files aside and moves them at the end; here the move fails."""
    (tmp_path / "dvc.yaml").write_text("")
    (tmp_path / "params.yaml").write_text(small_params.replace("sessions: 3000", "sessions: 300"))

    def refuse(*_):
        raise OSError("cut off")

    for stage in ("simulate", "ingest", "split", "publish"):
        outs = [tmp_path / (out if isinstance(out, str) else next(iter(out))) for out in STAGES[stage]["outs"]]
        files = [out for out in outs if out.suffix == ".parquet"] or [outs[0]]
        with chdir(tmp_path), monkeypatch.context() as broken:
            broken.setattr(Path, "replace", refuse)
            assert CliRunner().invoke(app, [stage]).exit_code == 1
            assert [out for file in files for out in (file, *file.rglob("*.parquet")) if out.is_file()] == []
            broken.undo()
            assert CliRunner().invoke(app, [stage]).exit_code == 0
        assert all(file.exists() for file in files)


WORST_FIRST = ("order = np.argsort(-", "order = np.argsort(")


@pytest.mark.parametrize("asked", [("-s", "evaluate"), pytest.param((), marks=pytest.mark.proof)], ids=["one", "all"])
def test_a_change_in_the_order_of_a_list_is_seen_in_the_figures(interrupted, made, asked):
    """The planted change that `dvc repro` once took for nothing: the worst item first."""
    interrupted.dvc("repro", "evaluate")
    module = interrupted.root / "src/nextclick/ranking/recommender.py"
    before = module.read_text()
    assert before.count(WORST_FIRST[0]) == 1
    try:
        module.write_text(before.replace(*WORST_FIRST))
        assert "evaluate:" in interrupted.dvc("status", "evaluate")
        assert "evaluate" in stages_run(interrupted.dvc("repro", *asked))
        assert interrupted.metric("evaluate")["mrr@20"] < 0.5 * made.clone.metric("evaluate")["mrr@20"]
    finally:
        module.write_text(before)
