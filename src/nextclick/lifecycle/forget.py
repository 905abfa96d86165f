"""Removes a person from everything that is stored of live clicks, and names the versions that were trained on them."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import yaml
from pydantic import Field

from nextclick.errors import InputError
from nextclick.events.schema import quoted
from nextclick.events.tables import lock_of, parquet_files, utc_database
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.online import OnlineStates
from nextclick.files import locked
from nextclick.lifecycle.git_dvc import dvc, git
from nextclick.lifecycle.records import Record, write_record
from nextclick.lifecycle.registry import Registry, registries
from nextclick.logs.event_log import LIVE_EVENTS, QUARANTINE
from nextclick.logs.parquet_log import rewrite_without
from nextclick.logs.prediction_log import FLUSH_SECONDS, PREDICTIONS, SHADOW
from nextclick.params import Params
from nextclick.progress import progress_bar

LIVE = (LIVE_EVENTS, PREDICTIONS, SHADOW, QUARANTINE)
OFFLINE = (Path("data/raw"), Path("data/interim"), Path("data/split"), Path("data/features/store"))
HELD = round(FLUSH_SECONDS) + 5  # s until what the service, or a consumer, holds in memory is in its files
SEPARATOR = "[^A-Za-z0-9_-]"  # between one id and the next


class ForgetRecord(Record):
    """person: a hash. sessions: how many. removed: rows by file. versions: those that were trained on the person, as in
    recommender@v3.0.0. unreadable: source files that are not Parquet, in which nothing was searched."""

    person: str = ""
    sessions: int = 0
    removed: dict[str, int] = Field(default_factory=dict)
    versions: list[str] = Field(default_factory=list)
    unreadable: list[str] = Field(default_factory=list)
    record: str = ""  # where it lies


def forget(root: Path, params: Params, user: str | None, session: str | None, held: int = HELD) -> ForgetRecord:
    """Remove a user with all sessions, or one session; idempotent. Returns the record, which names the person by a hash
    alone. held: seconds after which new files are searched too: answers that are in memory now are written later, and
    they name a session alone, so whoever repeats the command cannot find those of a user.

    Offline files that stages made are rewritten too; the next `dvc repro` makes them, and the bundle, without the
    person, unless their sources still hold the person, as the simulator does. Kafka keeps its messages until their
    retention ends.

    Raises InputError if not exactly one is named or a file is corrupt, and StoreUnavailableError if the online store
    does not answer; if it never did, nothing was changed.
    """
    if (user is None) == (session is None):
        raise InputError("expected one of --user and --session")
    sessions = {session} if session else set()
    removed: dict[str, int] = {}
    searched: set[Path] = set()
    for seconds in (0, held):
        for _ in progress_bar(range(seconds), desc="until what was held in memory is in files", unit="s"):
            time.sleep(1)
        with locked(lock_of(root / LIVE_EVENTS)):  # before listing, since `compact` deletes files and writes others
            listed = [file for folder in (*LIVE, *OFFLINE) for file in parquet_files(root / folder)]
            removed |= _remove(root, params, [file for file in listed if file not in searched], user, sessions)
        searched.update(listed)
    record = ForgetRecord(
        person=hashlib.sha256(f"{'user' if user else 'session'}:{user or session}".encode()).hexdigest(),
        sessions=len(sessions),
        removed=removed,
        versions=[
            f"{registry.name}@{number}"
            for registry in registries(root)
            for number in trained_on(registry, user, sessions)
        ],
        unreadable=[str(path.relative_to(root)) for path in (root / "data/raw").rglob("*") if _is_text(path)],
    )
    return record.model_copy(update={"record": write_record(root, "forget", record).file})


def _remove(root: Path, params: Params, files: list[Path], user: str | None, sessions: set[str]) -> dict[str, int]:
    """Remove the person from the online store and from these files; returns the removed rows by file. Adds the user's
    sessions that the files name to `sessions`."""
    for file in files if user else ():
        with _unless_deleted(file):
            sessions |= _sessions_of(file, str(user))
    _forget_online(root, params, user, sessions)
    removed = {}
    for file in files:
        with _unless_deleted(file):
            removed[str(file.relative_to(root))] = _rewrite(file, user, sessions)
    return {file: rows for file, rows in removed.items() if rows}


def trained_on(registry: Registry, user: str | None, sessions: set[str]) -> list[str]:
    """The numbers of the versions whose training events, in DVC's cache, hold the person or cannot be searched."""
    cache, numbers = Path(dvc(registry.root, "cache", "dir").strip()), []
    for version in registry.versions():
        lock = yaml.safe_load(git(registry.root, "show", f"{version.commit}:dvc.lock"))
        outs = {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", [])}
        md5 = outs["data/split/train.parquet"]
        file = cache / "files/md5" / md5[:2] / md5[2:]
        if not file.is_file() or _count(file, user, sessions):
            numbers.append(version.number)
    return numbers


def _forget_online(root: Path, params: Params, user: str | None, sessions: set[str]) -> None:
    apply_definitions(root, params)
    store = connect(root, params, timeout=1)
    OnlineStates(store).forget(sorted(sessions))
    if user:
        OnlineStates(store, "user_history").forget([user])


@contextmanager
def _unless_deleted(file: Path) -> Iterator[None]:
    """Ignore an error if the file was deleted meanwhile, as the service does with old answers. Raises InputError if the
    file is corrupt."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        if file.exists():
            raise InputError(f"{file}: cannot be read or rewritten: {error}; repair it or move it away") from error


def _sessions_of(file: Path, user: str) -> set[str]:
    with utc_database() as database:
        table = database.read_parquet(str(file), hive_partitioning=False)
        if not {"user_id", "session_id"} <= set(table.columns):
            return set()
        rows = table.filter(f"CAST(user_id AS VARCHAR) = {quoted(user)}").project("CAST(session_id AS VARCHAR)")
        return {row[0] for row in rows.distinct().fetchall()}


def _theirs(table: duckdb.DuckDBPyRelation, user: str | None, sessions: set[str]) -> str | None:
    """SQL: the condition on a row that is theirs; None if the file has no columns with persons. Of rows that violated
    the schema every one that names them anywhere is theirs."""
    columns = dict(zip(table.columns, table.types, strict=True))
    asked = {"user_id": [user] if user else [], "session_id": sorted(sessions)}
    conditions = [
        f"CAST({column} AS VARCHAR) IN ({', '.join(quoted(str(value)) for value in values)})"
        for column, values in asked.items()
        if column in columns and values
    ]
    if "raw" in columns:
        # bytes that are no text are shown as \xFF
        shown = r"regexp_replace(CAST(raw AS VARCHAR), '\\x[0-9A-F]{2}', ' ', 'g')"
        text = f"coalesce(TRY(decode(raw)), {shown})" if columns["raw"] == "BLOB" else "raw"
        names = {name for one in {user, *sessions} - {None} for name in (str(one), json.dumps(one)[1:-1])}
        named = f"(^|{SEPARATOR})({'|'.join(re.escape(name) for name in sorted(names))})($|{SEPARATOR})"
        conditions.append(f"regexp_matches({text}, {quoted(named)})")
    return " OR ".join(conditions) or None


def _count(file: Path, user: str | None, sessions: set[str]) -> int:
    with utc_database() as database:
        table = database.read_parquet(str(file), hive_partitioning=False)
        condition = _theirs(table, user, sessions)
        return int(table.filter(condition).count("*").fetchall()[0][0]) if condition else 0


def _rewrite(file: Path, user: str | None, sessions: set[str]) -> int:
    """Rewrite the file without them; returns how many rows they had."""
    count = _count(file, user, sessions)
    if count:
        with utc_database(threads=1) as database:
            table = database.read_parquet(str(file), hive_partitioning=False, file_row_number=True)
            theirs = table.filter(_theirs(table, user, sessions) or "false").project("file_row_number")
            rewrite_without(file, theirs.to_arrow_table()["file_row_number"].to_numpy())
    return count


def _is_text(path: Path) -> bool:
    """Whether it is a file of a source that is not Parquet."""
    return path.is_file() and path.suffix not in (".parquet", ".dvc") and not path.name.startswith(".")
