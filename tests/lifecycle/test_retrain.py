"""Retraining needs nobody: it may be killed at any step, never runs twice at once, and deploys nothing bad."""

import json
import os
import shutil
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import yaml
from warm_python import COLD

from nextclick.errors import InputError
from nextclick.lifecycle import retrain as module
from nextclick.lifecycle.promotion import champion, rollback, shadow
from nextclick.lifecycle.records import Grounds, Record, read_records
from nextclick.lifecycle.retrain import JOURNAL, LOCK, retrain
from nextclick.lifecycle.training_window import cut_window
from nextclick.logs.event_log import EVENT_SCHEMA, LIVE_EVENTS, EventLog, newest_day

from .conftest import ROOT, Project, starting

INTERIM = [f"data/interim/{name}.parquet" for name in ("events", "items", "quarantine")]
PARTS = [f"data/split/{name}.parquet" for name in ("train", "test", "embargoed")]
STAGES = {
    "ingest": {"cmd": "python -m nextclick.cli ingest", "deps": ["data/raw/window"], "params": ["ingest"],
               "outs": INTERIM},
    "split": {"cmd": "python -m nextclick.cli split", "deps": INTERIM[:1], "params": ["split"], "outs": PARTS},
    "train": {
        "cmd": "python train_stage.py",
        "deps": [PARTS[0], "train_stage.py"],
        "params": ["retrieval", "ranker"],
        "outs": ["models/bundle"],
    },
}  # fmt: skip
ARTIFACTS = {"recommender": {"path": "models/bundle", "type": "model"}}


def happen(root: Path, events: pd.DataFrame) -> None:
    """Events come in live."""
    rows = events.assign(arrived=events["timestamp"], late=False)
    table = pa.Table.from_pandas(rows[EVENT_SCHEMA.names].astype({"event_id": str, "session_id": str}), EVENT_SCHEMA)
    EventLog(root / LIVE_EVENTS).append(table)


@pytest.fixture(scope="module")
def days(simulated) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of every other session the events of the first eleven days, and the others."""
    events = pd.read_parquet(simulated.root / "data/interim/events.parquet")
    events = events[pd.factorize(events["session_id"])[0] % 2 == 0]
    cut = events["timestamp"].min().normalize() + pd.Timedelta(days=11)
    return events[events["timestamp"] < cut], events[events["timestamp"] >= cut]


@pytest.fixture(scope="module")
def begun(simulated, days, warm, tmp_path_factory) -> Project:
    """A project whose first round has made the champion; more has happened since."""
    root = tmp_path_factory.mktemp("begun")
    ingest = simulated.params.ingest.model_copy(update={"path": "data/raw/window"})
    gate = simulated.params.gate.model_copy(update={"margin": 0.1, "coverage_loss": 0.5, "slice_loss": 0.5})
    project = Project(root, simulated.params.model_copy(update={"ingest": ingest, "gate": gate}), warm)
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES, "artifacts": ARTIFACTS}))
    (root / "params.yaml").write_text(yaml.safe_dump(json.loads(project.params.model_dump_json())))
    for name in (".gitignore", ".dvcignore", "bentofile.yaml"):
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    shutil.copy(Path(__file__).with_name("train_stage.py"), root)
    (root / "build").mkdir()
    (root / "build/requirements.txt").write_text("nextclick\n")
    project.run("git", "init", "-q")
    project.run("git", "config", "user.name", "Test")
    project.run("git", "config", "user.email", "test@localhost")
    project.run("dvc", "init", "-q")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "The project")
    happen(root, days[0])
    with starting(warm):
        Round(project).wait_to_end()
    # that round drew the gate's notebook; those to come draw a short one
    (root / "notebooks/07_gate.py").write_text('# %% tags=["parameters"]\nrun = {}\n\n# %%\nprint("seen")\n')
    project.run("git", "commit", "-qam", "A short notebook")
    happen(root, days[1])
    return project


def bentos(project: Project) -> Path:
    """Beside the project, since a bento holds the project's files."""
    return project.root.with_name(f"{project.root.name}-bentos")


class Round:
    """`nextclick retrain` in a process group of its own. cold: all its processes are fresh Pythons, none a fork."""

    def __init__(self, project: Project, cold: bool = False) -> None:
        bentos(project).mkdir(exist_ok=True)
        environment = project.environment | {"BENTOML_HOME": str(bentos(project)), "BENTOML_DO_NOT_TRACK": "1"}
        environment |= {COLD: "1"} if cold else {}
        command = ("-m", "nextclick.cli", "retrain", "--no-watch")
        self._process = project.warm.start(project.root, environment, project.root / "build", *command)

    def wait_to_end(self) -> dict:
        assert self._process.wait() == 0, self._process.said.read_text()
        return json.loads(self._process.out.read_text().splitlines()[-1])

    def kill_when(self, reached) -> None:
        deadline = time.monotonic() + 300
        while not reached():
            assert self._process.is_alive(), self._process.said.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        self._process.kill()


def copied(project: Project, root: Path) -> Project:
    return Project(shutil.copytree(project.root, root, symlinks=True), project.params, project.warm)


def state(project: Project) -> dict:
    """All that a round decides, without moments."""
    decisions = {
        record["file"].partition("-")[0] if record["kind"] in ("promote",) else record["file"]: record["verdict"]
        if record["kind"] == "gate"
        else record.get("outcome", record.get("version"))
        for record in (one.to_dict() for one in read_records(project.root, Record, "gate", "promote", "retrain"))
    }
    present = champion(project.registry)
    return {
        "lock": (project.root / "dvc.lock").read_text(),
        "window": (project.root / "data/raw/window.dvc").read_text(),
        "versions": [(version.number, version.bundle) for version in project.registry.versions()],
        "champion": present and present.number,
        "stage": project.registry.staged(),
        "decisions": decisions,
        "promotions": len(read_records(project.root, Record, "promote")),
        "bentos": sorted(path.name for path in (bentos(project) / "bentos/nextclick").glob("v*")),
        "dirty": project.run("git", "status", "--porcelain"),
    }


@pytest.mark.fault(
    part="process",
    wrong="`nextclick retrain` is killed at each of its steps",
    noticed="the next run, by its journal",
    lost="nothing",
    degraded="nothing",
    heals="by the next run, which goes on",
)
@pytest.mark.timeout(1800)  # ten rounds, however busy the machine
@pytest.mark.parametrize("cold", [False, pytest.param(True, marks=pytest.mark.proof)], ids=["forked", "fresh Pythons"])
def test_a_round_killed_at_every_step_ends_as_one_that_was_not(begun, tmp_path, cold):
    whole = copied(begun, tmp_path / "whole")
    assert state(whole)["champion"] == "v1.0.0"
    outcome = Round(whole, cold).wait_to_end()
    assert outcome["outcome"] == "promoted", outcome
    expected = state(whole)
    assert expected["champion"] == expected["stage"] == "v2.0.0"
    assert expected["promotions"] == 2
    assert expected["bentos"] == ["v2.0.0"]
    assert expected["dirty"] == ""

    killed = copied(begun, tmp_path / "killed")
    root = killed.root
    first = {name: (root / name).read_bytes() for name in ("dvc.lock", "data/raw/window.dvc")}
    pointer = (root / "models/deployed/recommender.json").read_text()
    steps = {
        "begun": lambda: (root / JOURNAL).is_file(),
        "window cut": lambda: (root / "data/raw/window.dvc").read_bytes() != first["data/raw/window.dvc"],
        "trained": lambda: (root / "dvc.lock").read_bytes() != first["dvc.lock"],
        "tagged": lambda: (root / ".git/refs/tags/recommender@v2.0.0").is_file(),
        "judged": lambda: len(read_records(root, Record, "gate")) == 2,
        "pointed": lambda: (root / "models/deployed/recommender.json").read_text() != pointer,
        "recorded": lambda: len(read_records(root, Record, "promote")) == 2,
        "told": lambda: len(read_records(root, Record, "retrain")) == 2,
    }
    for reached in steps.values():
        Round(killed, cold).kill_when(reached)
    assert Round(killed, cold).wait_to_end()["outcome"] == "promoted"
    assert state(killed) == expected
    shadow(killed.registry, None)  # leaves a record
    assert Round(killed, cold).wait_to_end()["outcome"] == "unchanged"
    assert state(killed) == expected
    assert killed.run("git", "log", "-1", "--format=%s").strip() == "Decisions so far"


def test_what_was_rolled_back_does_not_come_back_by_itself(begun, tmp_path):
    project = copied(begun, tmp_path / "back")
    assert Round(project).wait_to_end()["outcome"] == "promoted"
    rollback(project.registry, None, Grounds(reason="visitors clicked less than was promised"))
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "Rolled back")
    outcome = Round(project).wait_to_end()
    assert (outcome["outcome"], outcome["version"]) == ("held", "v2.0.0")
    assert "was rolled back" in outcome["reason"]
    assert champion(project.registry).number == "v1.0.0"


@pytest.mark.fault(
    part="process",
    wrong="two retrainings at once",
    noticed="the second: one line, exit 2",
    lost="nothing",
    degraded="nothing",
    heals="nothing to heal",
)
def test_two_at_once_are_refused(begun, tmp_path):
    import fcntl

    with (begun.root / LOCK).open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another retraining runs"):
            retrain(begun.registry, begun.params)


UNDER_WAY = {
    "a merge": ["merge", "--no-commit", "-s", "ours", "side"],
    "a cherry-pick": ["cherry-pick", "--no-commit", "side"],
    "a bisect": ["bisect", "start"],
}


BEGUN = {
    "part": "git",
    "noticed": "`nextclick retrain`, at its start: one line, exit 2",
    "lost": "nothing",
    "degraded": "that round does not run",
}
WRONG = {said: (f"somebody's {said[2:]} is under way", "when it is concluded or aborted") for said in UNDER_WAY}
WRONG["no branch"] = ("no branch is checked out, so that commits would be lost", "when one is")


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(said, marks=pytest.mark.fault(wrong=wrong, heals=heals, **BEGUN))
        for said, (wrong, heals) in WRONG.items()
    ],
)
def test_what_somebody_has_begun_is_not_concluded_for_him(begun, tmp_path, said):
    project = copied(begun, tmp_path / "begun")
    project.run("git", "branch", "side")
    if said == "no branch":
        project.run("git", "checkout", "-q", "--detach")
    else:
        project.run("git", "checkout", "-q", "side")
        project.run("git", "commit", "-q", "--allow-empty", "-m", "another's work")
        project.run("git", "checkout", "-q", "-")
        project.run("git", *UNDER_WAY[said])
        if said == "a cherry-pick":  # of a change that conflicts, git keeps this itself
            head = project.run("git", "rev-parse", "side")
            (project.root / ".git/CHERRY_PICK_HEAD").write_text(head)
    head = project.run("git", "rev-parse", "HEAD")
    with pytest.raises(InputError, match=said):
        retrain(project.registry, project.params)
    assert project.run("git", "rev-parse", "HEAD") == head
    assert not (project.root / module.JOURNAL).exists()


@pytest.mark.fault(
    part="disk",
    wrong="models/retrain.json is empty after a power cut",
    noticed="`nextclick retrain`: one line that names the file and the remedy, exit 2",
    lost="nothing",
    degraded="no round runs until it is removed",
    heals="when the file is removed; it is on disk before a round goes on, so that a cut does not empty it",
)
def test_a_journal_that_is_no_journal_is_named_with_the_remedy(begun, tmp_path):
    project = copied(begun, tmp_path / "empty")
    (project.root / module.JOURNAL).write_text("")
    with pytest.raises(InputError, match=r"retrain\.json: expected the JSON of the round.* Remove it"):
        retrain(project.registry, project.params)


@pytest.mark.fault(
    part="clock",
    wrong="a clock that was ahead left a day of live events that is yet to come",
    noticed="`nextclick retrain`: a line that names the day",
    lost="nothing",
    degraded="nothing: the window ends with today",
    heals="by itself",
)
def test_a_day_that_is_yet_to_come_ends_no_window(days, tmp_path, caplog):
    for part in days:
        happen(tmp_path, part)
    expected = newest_day(tmp_path)
    happen(tmp_path, days[0].head(3).assign(timestamp=pd.Timestamp.now("UTC").floor("ms") + pd.Timedelta(days=400)))
    assert newest_day(tmp_path) == expected
    assert "yet to come" in caplog.text


@pytest.mark.fault(
    part="disk",
    wrong="a file of the live log is cut off, or a folder in it is no day",
    noticed="`nextclick retrain` and `compact`: one line that names the file, exit 2",
    lost="nothing",
    degraded="retraining and compaction wait",
    heals="when it is restored or moved away",
)
def test_what_does_not_belong_into_the_log_is_named(days, tmp_path):
    happen(tmp_path, days[0])
    until, log = newest_day(tmp_path), EventLog(tmp_path / LIVE_EVENTS)
    stray = tmp_path / LIVE_EVENTS / "date=backup"
    stray.mkdir()
    for work in (log.days, lambda: newest_day(tmp_path)):
        with pytest.raises(InputError, match="date=backup: expected a folder date=YYYY-MM-DD"):
            work()
    stray.rmdir()
    file = next(log.days()[0].glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-20])
    for work in (lambda: cut_window(tmp_path, 30, until), lambda: log.compact(log.days()[0])):
        with pytest.raises(InputError, match=f"{file.name}: no whole Parquet file"):
            work()


@pytest.mark.fault(
    part="git",
    wrong="code or params are in no commit when a retraining begins",
    noticed="`nextclick retrain`: one line, exit 2",
    lost="nothing",
    degraded="that round does not run",
    heals="when they are committed",
)
@pytest.mark.ml_test("model-1")
def test_code_that_is_in_no_commit_is_not_trained(begun, tmp_path):
    project = copied(begun, tmp_path / "changed")
    with (project.root / "params.yaml").open("a") as params:
        params.write("\n# changed\n")
    with pytest.raises(InputError, match=r"params\.yaml: commit or undo"):
        retrain(project.registry, project.params)


@pytest.mark.ml_test("monitor-2")
def test_a_week_of_bad_data_is_learned_from_and_not_deployed(begun, days, tmp_path):
    project = copied(begun, tmp_path / "bad")
    shutil.rmtree(project.root / LIVE_EVENTS)
    # every click of the newest days is logged with an item of another: a broken join upstream
    bad = days[1][days[1]["timestamp"] < days[1]["timestamp"].max() - pd.Timedelta(days=1)]
    good = days[1].drop(bad.index)
    events = pd.concat([days[0], good])
    mixed = events.assign(item_id=events["item_id"].sample(frac=1, random_state=0).to_numpy())
    happen(project.root, mixed)
    outcome = Round(project).wait_to_end()
    assert outcome["outcome"] in ("held", "rejected"), outcome
    assert champion(project.registry).number == "v1.0.0"
    assert module.JOURNAL.name not in os.listdir(project.root / "models")


def test_the_window_holds_whole_days_each_event_once(days, tmp_path):
    for part in (*days, days[0].head(500)):
        happen(tmp_path, part)
    pd.DataFrame({"item_id": ["a"], "price": [1.0]}).to_parquet(tmp_path / "data/live/items.parquet")
    until = newest_day(tmp_path)
    count = cut_window(tmp_path, 3, until)
    window = pd.read_parquet(tmp_path / "data/raw/window/events.parquet")
    every = pd.concat(days)
    last = pd.Timestamp(until, tz="UTC")
    inside = every[(every["timestamp"] < last) & (every["timestamp"] >= last - pd.Timedelta(days=3))]
    assert set(window["event_id"]) == set(inside["event_id"].astype(str))
    assert count == len(window) == len(inside)
    assert (tmp_path / "data/raw/window/items.parquet").is_file()
    before = (tmp_path / "data/raw/window/events.parquet").read_bytes()
    cut_window(tmp_path, 3, until)
    assert (tmp_path / "data/raw/window/events.parquet").read_bytes() == before
