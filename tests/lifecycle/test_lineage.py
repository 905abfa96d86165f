"""From an answer to all that made it, from a version to the same bytes; and a person who wants to be forgotten is."""

import json
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from nextclick.errors import InputError
from nextclick.events.session_state import Click
from nextclick.events.tables import lock_of, parquet_files
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.online import OnlineStates
from nextclick.files import locked
from nextclick.lifecycle import forget as forgetting
from nextclick.lifecycle.forget import HELD, SEPARATOR, forget
from nextclick.lifecycle.lineage import lineage, made_of, reproduce
from nextclick.lifecycle.promotion import promote
from nextclick.lifecycle.records import DeploymentRecord, Grounds, read_records
from nextclick.lifecycle.registry import Registry
from nextclick.logs.event_log import LIVE_EVENTS
from nextclick.logs.prediction_log import FLUSH_SECONDS, with_feature_names

from .conftest import Project, early
from .test_retrain import happen
from .test_watch import SHOWN, served, visit

NOW = datetime(2026, 1, 10, tzinfo=UTC)
PLAIN = ["number", "bool", "datetime", "datetimetz"]


@pytest.mark.ml_test("infra-5")
def test_an_answer_names_its_version_commit_params_data_and_decisions(project):
    promote(project.registry, project.second, Grounds(reason="seen"))
    visit(project.root, project.second.bundle, NOW, 3, 1.0, "request")
    found = json.loads(json.dumps(lineage(project.registry, "request1").to_dict()))
    assert (found["version"], found["session_id"], found["shown"]) == ("v2.0.0", "request1", SHOWN)
    assert "others" not in found
    assert found["commit"] == project.run("git", "rev-parse", "HEAD").strip()
    assert found["params"]["run"] == {"seed": 7, "threads": 1}
    assert set(found["data"]) == {"data/split/train.parquet"}
    (promoted,) = read_records(project.root, DeploymentRecord, "promote")
    assert found["decisions"] == [promoted.file]
    assert (project.root / found["logged"]).is_file()
    with pytest.raises(InputError, match="holds no answer nothing"):
        lineage(project.registry, "nothing")
    visit(project.root, "0123456789ab", NOW, 1, 1.0, "stranger")
    with pytest.raises(InputError, match="bundle 0123456789ab is no version"):
        lineage(project.registry, "stranger0")
    assert made_of(project.registry, project.first).data != found["data"]


def test_of_answers_with_one_id_the_newest_is_told_of_and_the_others_are_named(project):
    bundle, later = project.second.bundle, NOW + timedelta(seconds=1)
    batch = [("batch", session, NOW, bundle, SHOWN) for session in ("s", "t")]
    served(project.root, [*batch, ("batch", "u", later, project.first.bundle, ["a"])], [])
    served(project.root, [("batch", "s", NOW, "0123456789ab", SHOWN)], [], folder="data/shadow")
    found = lineage(project.registry, "batch").to_dict()
    assert (found["session_id"], found["version"], found["shown"], found["shadows"]) == ("u", "v1.0.0", ["a"], [])
    assert [other["session_id"] for other in found["others"]] == ["s", "t"]
    for session, shadows in (("s", ["0123456789ab"]), ("t", [])):
        found = project.nextclick("lineage", "batch", "--session", session)
        assert (found["session_id"], found["version"], found["shadows"]) == (session, "v2.0.0", shadows)
        assert "others" not in found
    with pytest.raises(InputError, match="holds no answer batch of session x"):
        lineage(project.registry, "batch", "x")


def test_a_request_may_be_named_like_anything(project):
    for name in ("visit-17", "v17-a", "1", "v1", "v1.0.0.0"):
        served(project.root, [(name, "s", NOW, project.second.bundle, SHOWN)], [])
        found = project.nextclick("lineage", name, *(["--session", "s"] if name == "v1" else []))
        assert (found["request_id"], found["version"]) == (name, "v2.0.0")
    for asked in ("v1", "v1.0.0", project.first.bundle):
        found = project.nextclick("lineage", asked)
        assert found["version"] == "v1.0.0"
        assert "request_id" not in found


@pytest.mark.ml_test("infra-1")
def test_a_version_is_made_again_bit_by_bit_and_one_that_is_not_says_where(project):
    # the clone makes it of what it has: here of files that are in the commit
    (project.root / ".gitignore").write_text("/data/\n/models/\n.feast/\n")
    project.run("git", "add", "-A")
    version = remade(project)
    found = reproduce(project.registry, version).to_dict()
    assert (found["same"], found["differing"]) == (True, [])
    # what was not in a commit cannot come again
    shutil.rmtree(project.root / "given/new")
    shutil.copytree(project.root / "given/old", project.root / "given/new")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "--amend", "-m", "Another bundle under the same name")
    project.run("git", "tag", "-f", "-a", "-m", f"bundle {version.bundle}", f"recommender@{version.number}")
    found = reproduce(project.registry, project.registry.version(version.number)).to_dict()
    assert found["same"] is False
    assert "ranker.ubj" in found["differing"]


def remade(project):
    """The second version once more, registered at a commit that holds all it needs."""
    project.run("git", "tag", "-d", f"recommender@{project.second.number}")
    project.run("git", "commit", "-q", "-m", "With its sources")
    shutil.rmtree(project.root / "models/registry/recommender/v2.0.0")
    return project.registry.register()


@pytest.mark.fault(
    part="disk",
    wrong="`nextclick forget` rewrites a file of the prediction log",
    noticed="nobody has to",
    lost="the rows of that person alone",
    degraded="nothing: types and the names of features stay, so that `nextclick drift` reads the file as before",
    heals="nothing to heal",
)
def test_a_file_that_loses_a_person_keeps_its_types_and_its_metadata(tmp_path):
    file, schema = tmp_path / "a.parquet", with_feature_names(("price", "clicks"))
    row = {"moment": datetime.now(UTC), "shown": ["i1", "i2"], "features": [1.0, 2.0, 3.0, 4.0], "stale": []}
    rows = [row | {"request_id": f"r{i}", "session_id": f"s{i % 3}"} for i in range(9)]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
    before = pq.read_schema(file)
    assert forgetting._rewrite(file, None, {"s1"}) == 3
    assert pq.read_schema(file).equals(before, check_metadata=True)
    left = pq.read_table(file).to_pylist()
    assert [one["request_id"] for one in left] == ["r0", "r2", "r3", "r5", "r6", "r8"]
    assert all(one["shown"] == row["shown"] and one["features"] == row["features"] for one in left)


@pytest.mark.ml_test("data-5")
def test_a_person_who_is_forgotten_is_nowhere_and_versions_that_knew_him_are_named(project, simulated):
    root, events = project.root, simulated.window.train
    # who has been there for long, though not so often that there is much to look through
    seen = early(events).groupby("user_id")["session_id"].nunique()
    person = seen[seen == 3].index[0]
    theirs = set(events[events["user_id"] == person]["session_id"].astype(str))
    other = next(session for session in events["session_id"].astype(str).unique() if session not in theirs)
    happen(root, events)
    (root / "data/interim").mkdir(parents=True)
    events.to_parquet(root / "data/interim/events.parquet")
    for session in (*sorted(theirs), other):
        visit(root, project.second.bundle, NOW, 1, 1.0, session)
    raw = [
        f'{{"user_id": "{person}", "item_id": 1.5}}'.encode(),
        f'{{"session_id": "{min(theirs)}", "item'.encode(),  # torn
        b"\xff" + person.encode(),
        f'{{"user_id": "{person}0"}}'.encode(),  # another
        b"\xff\x00",
    ]
    (root / "data/live/quarantine").mkdir()
    pq.write_table(pa.table({"field": ["item_id"] * 5, "raw": raw}), root / "data/live/quarantine/a.parquet")
    lines = [f"{person},i1", "x,i1"]
    pq.write_table(pa.table({"row": [1, 2], "raw": lines}), root / "data/interim/quarantine.parquet")
    params = project.params
    apply_definitions(root, params)
    online = OnlineStates(connect(root, params, timeout=5))
    click = Click(1_767_700_000_000, 0, "e", "i1", 0)
    online.write({session: (click,) for session in (*theirs, other)})
    OnlineStates(connect(root, params, timeout=5), "user_history").write({person: (click,)})

    home = also_as(project, "home")
    also = [home.register().number] if knows(events, theirs, 0) else []
    found = forget(project.root, params, person, None, held=0).to_dict()
    assert found["sessions"] == len(theirs)
    assert person not in (root / found["record"]).read_text()
    assert named_in(root, {person, *theirs}) == []
    assert named_in(root, {other})
    assert pq.read_table(root / "data/live/quarantine/a.parquet")["raw"].to_pylist() == raw[3:]
    assert pq.read_table(root / "data/interim/quarantine.parquet")["raw"].to_pylist() == lines[1:]
    left = pd.read_parquet(root / "data/interim/events.parquet")
    assert len(left) == (~events["session_id"].astype(str).isin(theirs)).sum()
    assert [bool(row.state) for row in online.read([*theirs, other])] == [False] * len(theirs) + [True]
    assert not OnlineStates(connect(root, params, timeout=5), "user_history").read([person])[0].state
    knew = [v.number for v, day in ((project.first, 7), (project.second, 0))
            if knows(events, theirs, day)]  # fmt: skip
    assert knew == ["v1.0.0", "v2.0.0"]
    assert found["versions"] == [f"home@{number}" for number in also] + [f"recommender@{number}" for number in knew]
    assert forget(project.root, params, person, None, held=0).removed == {}
    with pytest.raises(InputError, match="one of --user and --session"):
        forget(project.root, params, None, None)


def named_in(root: Path, names: set[str]) -> list[tuple[Path, str]]:
    """Files under data/ and their columns, whatever they are called, that name one of them. names: no numbers."""
    name = re.compile(f"(?:^|{SEPARATOR})(?:{'|'.join(map(re.escape, sorted(names)))})(?:$|{SEPARATOR})")
    return [
        (file, column)
        for file in parquet_files(root / "data")
        for column, values in pq.ParquetFile(file).read().to_pandas().select_dtypes(exclude=PLAIN).items()
        if any(name.search(value.decode("latin-1") if isinstance(value, bytes) else str(value)) for value in values)
    ]


@pytest.mark.fault(
    part="disk",
    wrong="files of the logs come and go while somebody is forgotten",
    noticed="nobody has to",
    lost="nothing",
    degraded="nothing",
    heals="nothing to heal",
)
def test_files_that_come_and_go_meanwhile_hide_nobody(project, monkeypatch):
    root, day = project.root, project.root / LIVE_EVENTS / "date=2026-01-10"
    for session in "st":
        visit(root, project.second.bundle, NOW, 1, 1.0, session)
    with ThreadPoolExecutor() as pool:
        with locked(lock_of(root / LIVE_EVENTS)):  # as `compact` holds it
            asked = pool.submit(forget, root, project.params, None, "s0", held=0)
            time.sleep(1)
            files = parquet_files(day)
            pq.write_table(pa.concat_tables([pq.ParquetFile(file).read() for file in files]), day / "once.parquet")
            for file in files:
                file.unlink()
        removed = asked.result().removed
    assert removed[f"{LIVE_EVENTS}/date=2026-01-10/once.parquet"] == 1
    assert named_in(root, {"s0"}) == []

    def listed_then_deleted(folder: Path) -> list[Path]:
        """As the service deletes old answers, by no lock."""
        files = parquet_files(folder)
        if folder.name == "predictions":
            shutil.rmtree(folder, ignore_errors=True)
        return files

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(forgetting, "parquet_files", listed_then_deleted)
        assert len(forget(root, project.params, None, "t0", held=0).removed) == 1
    assert named_in(root, {"t0"}) == []
    (day / "broken.parquet").write_text("no Parquet")
    with pytest.raises(InputError, match=r"broken\.parquet: cannot be read"):
        forget(root, project.params, None, "t0", held=0)


def test_an_answer_that_the_service_still_held_in_memory_is_forgotten_too(project, simulated):
    root, events = project.root, simulated.window.train
    person = events.dropna(subset=["user_id"])["user_id"].value_counts().index[0]
    session = str(events[events["user_id"] == person]["session_id"].iloc[0])
    happen(root, events[events["user_id"] == person])
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(forget, root, project.params, person, None, held=5)
        while named_in(root, {session}) and not asked.done():
            time.sleep(0.1)
        served(root, [("late", session, NOW, project.second.bundle, SHOWN)], [])
        assert [column for _, column in named_in(root, {session})] == ["session_id"]
        assert not asked.done()
        asked.result()
    assert named_in(root, {session}) == []
    assert HELD > FLUSH_SECONDS


def also_as(project: Project, name: str) -> Registry:
    """The pipeline's bundle under the name of another recommender, too."""
    described = yaml.safe_load((project.root / "dvc.yaml").read_text())
    described["artifacts"][name] = described["artifacts"]["recommender"]
    (project.root / "dvc.yaml").write_text(yaml.safe_dump(described))
    project.run("git", "commit", "-qam", f"Another recommender: {name}")
    return Registry(project.root, name)


def knows(events: pd.DataFrame, sessions: set[str], days: int) -> bool:
    ends = events.groupby("session_id")["timestamp"].transform("max")
    early = events[ends < events["timestamp"].max() - pd.Timedelta(days=days)] if days else events
    return bool(set(early["session_id"].astype(str)) & sessions)


@pytest.mark.ml_test("data-5")
def test_redis_forgets_too(project, redis_server, monkeypatch):
    monkeypatch.setenv("NEXTCLICK_REDIS", redis_server().address)
    features = project.params.features.model_copy(update={"online_store": "redis"})
    params = project.params.model_copy(update={"features": features})
    apply_definitions(project.root, params)
    online = OnlineStates(connect(project.root, params, timeout=5))
    click = Click(1_767_700_000_000, 0, "e", "i1", 0)
    online.write({"s": (click,), "t": (click,)})
    forget(project.root, params, None, "s", held=0)
    assert [bool(row.state) for row in online.read(["s", "t"])] == [False, True]
