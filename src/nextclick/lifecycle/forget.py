"""Take a person out of everything that is kept of live clicks, and say which versions were trained on them."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import yaml

from nextclick.errors import InputError
from nextclick.events.schema import quoted
from nextclick.events.tables import lock_of, parquet_files, utc_database
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.online import OnlineStates
from nextclick.files import locked, written_whole
from nextclick.lifecycle.git_dvc import dvc, git
from nextclick.lifecycle.records import write_record
from nextclick.lifecycle.registry import Registry, registries
from nextclick.logs.event_log import LIVE_EVENTS, QUARANTINE
from nextclick.logs.prediction_log import FLUSH_SECONDS, PREDICTIONS, SHADOW
from nextclick.params import Params
from nextclick.progress import progress_bar

LIVE = (LIVE_EVENTS, PREDICTIONS, SHADOW, QUARANTINE)
OFFLINE = (Path("data/raw"), Path("data/interim"), Path("data/split"), Path("data/features/store"))
HELD = round(FLUSH_SECONDS) + 5  # s until what the service, or a consumer, holds in memory is in its files
APART = "[^A-Za-z0-9_-]"  # what stands between one id and the next


def forget(root: Path, params: Params, user: str | None, session: str | None, held: int = HELD) -> dict[str, Any]:
    """Remove a user with all sessions, or one session; twice is once. Returns the record, which names the person by a
    hash alone. held: seconds after which files that are new are looked through too: answers that are in memory now come
    later, and they name a session alone, so whoever repeats the command cannot find those of a user.

    Offline files that stages made are rewritten too; the next `dvc repro` makes them, and the bundle, anew without the
    person, unless what they are made of still has him, as the simulator has its people. Kafka keeps its messages until
    their retention ends.

    Raises InputError where neither is named or a file is broken, and StoreUnavailableError where the online store does
    not answer, if it was so from the beginning before anything was changed.
    """
    if (user is None) == (session is None):
        raise InputError("expected one of --user and --session")
    sessions = {session} if session else set()
    removed: dict[str, int] = {}
    seen: set[Path] = set()
    for seconds in (0, held):
        for _ in progress_bar(range(seconds), desc="until what was held in memory is in files", unit="s"):
            time.sleep(1)
        with locked(lock_of(root / LIVE_EVENTS)):  # before listing, since `compact` deletes files and writes others
            listed = [file for folder in (*LIVE, *OFFLINE) for file in parquet_files(root / folder)]
            files = [file for file in listed if file not in seen]
            for file in files if user else ():
                with _unless_gone(file):
                    sessions |= _sessions_of(file, str(user))
            _forget_online(root, params, user, sessions)
            for file in files:
                with _unless_gone(file):
                    if count := _rewrite(file, user, sessions):
                        removed[str(file.relative_to(root))] = count
        seen.update(files)
    about = {
        "person": hashlib.sha256(f"{'user' if user else 'session'}:{user or session}".encode()).hexdigest(),
        "sessions": len(sessions),
        "removed": removed,
        "versions": [
            f"{registry.name}@{number}"
            for registry in registries(root)
            for number in trained_on(registry, user, sessions)
        ],
        "unreadable": [str(path.relative_to(root)) for path in (root / "data/raw").rglob("*") if _is_text(path)],
    }
    path = write_record(root, "forget", about)
    return {**about, "record": str(path.relative_to(root))}


def trained_on(registry: Registry, user: str | None, sessions: set[str]) -> list[str]:
    """The versions whose training events, as DVC keeps them, hold the person."""
    cache, found = Path(dvc(registry.root, "cache", "dir").strip()), []
    for version in registry.versions():
        lock = yaml.safe_load(git(registry.root, "show", f"{version.commit}:dvc.lock"))
        outs = {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", [])}
        md5 = outs["data/split/train.parquet"]
        file = cache / "files/md5" / md5[:2] / md5[2:]
        if not file.is_file() or _count(file, user, sessions):  # what cannot be looked at may hold them
            found.append(version.number)
    return found


def _forget_online(root: Path, params: Params, user: str | None, sessions: set[str]) -> None:
    apply_definitions(root, params)
    store = connect(root, params, timeout=1)
    OnlineStates(store).forget(sorted(sessions))
    if user:
        OnlineStates(store, "user_history").forget([user])


@contextmanager
def _unless_gone(file: Path) -> Iterator[None]:
    """One that was deleted meanwhile, as the service does with old answers, holds nobody. Raises InputError where it is
    broken."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        if file.exists():
            raise InputError(f"{file}: cannot be read or rewritten: {error}; mend it or move it away") from error


def _sessions_of(file: Path, user: str) -> set[str]:
    with utc_database() as database:
        table = database.read_parquet(str(file), hive_partitioning=False)
        if not {"user_id", "session_id"} <= set(table.columns):
            return set()
        rows = table.filter(f"CAST(user_id AS VARCHAR) = {quoted(user)}").project("CAST(session_id AS VARCHAR)")
        return {row[0] for row in rows.distinct().fetchall()}


def _theirs(table: duckdb.DuckDBPyRelation, user: str | None, sessions: set[str]) -> str | None:
    """The condition on a row that is theirs; None where the file says nothing of persons. Of what broke the schema
    every row that names them anywhere is theirs."""
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
        named = f"(^|{APART})({'|'.join(re.escape(name) for name in sorted(names))})($|{APART})"
        conditions.append(f"regexp_matches({text}, {quoted(named)})")
    return " OR ".join(conditions) or None


def _count(file: Path, user: str | None, sessions: set[str]) -> int:
    with utc_database() as database:
        table = database.read_parquet(str(file), hive_partitioning=False)
        condition = _theirs(table, user, sessions)
        return int(table.filter(condition).count("*").fetchall()[0][0]) if condition else 0


def _rewrite(file: Path, user: str | None, sessions: set[str]) -> int:
    """Without them; how many rows they had."""
    count = _count(file, user, sessions)
    if count:
        with written_whole(file) as scratch, utc_database(threads=1) as database:
            table = database.read_parquet(str(file), hive_partitioning=False)
            kept = table.filter(f"NOT coalesce({_theirs(table, user, sessions)}, false)")
            kept.write_parquet(str(scratch), compression="zstd")
    return count


def _is_text(path: Path) -> bool:
    """Of a source that is not Parquet, in which nothing was looked for."""
    return path.is_file() and path.suffix not in (".parquet", ".dvc") and not path.name.startswith(".")
