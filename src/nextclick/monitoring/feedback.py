"""How good the served lists were: each click that followed is joined to the list that its visitor had before him.

The protocol is that of the evaluation: one prediction a click, the newest list served to the session before it, and the
question where the clicked item stands in it. So the figures stand beside those that the evaluation promised.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from nextclick.bundle.pointer import DEFAULT_BUNDLE, Pointer, served_name
from nextclick.errors import InputError
from nextclick.evaluation.metrics import interval, per_prediction
from nextclick.events.schema import quoted
from nextclick.events.tables import lock_of, parquet_files
from nextclick.files import locked
from nextclick.logs.served import service_facts
from nextclick.monitoring.reference import Reference, reference_of
from nextclick.params import Params

MINUTE = 60_000  # ms
SERVED = "what the service writes while it answers, at the latest after a minute"
CLICKED = "the clicks that came, by `nextclick stream` or POST /events"

# a click is judged by the newest list before it, a list by the first click after it: a list that was never acted on (a
# page that was loaded again), or that an earlier click had answered, is no prediction of this one;
# the request's id alone names no list: a batch has one for all, and a client may send the same again
_JUDGED = """
    WITH clicks AS (
        SELECT session_id, item_id, timestamp FROM ({clicks})
        QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY timestamp, item_id) = 1
    ),
    lists AS (SELECT request_id, session_id, moment, model_version, degraded, shown, state FROM ({lists}))
    SELECT request_id, lists.session_id, moment, model_version, coalesce(degraded, 'no') AS degraded,
        item_id AS clicked, len(shown) AS shown, coalesce(list_position(shown, item_id), 0) AS rank,
        len(state) AS known,
        coalesce(list_contains(list_transform(state, lambda click: click.item_id), item_id), false) AS repeat
    FROM clicks ASOF JOIN lists ON clicks.session_id = lists.session_id AND clicks.timestamp > lists.moment
    WHERE clicks.timestamp - lists.moment <= INTERVAL ({patience}) MILLISECOND
    QUALIFY row_number() OVER (
        PARTITION BY request_id, lists.session_id, moment ORDER BY clicks.timestamp, item_id
    ) = 1
    ORDER BY moment, request_id, lists.session_id
"""


def judged_lists(root: Path, since: datetime, until: datetime, target: str, patience_ms: int) -> pd.DataFrame:
    """Lists served in a window that a click followed within `patience_ms`, a row each: request_id, session_id, moment,
    model_version, degraded ("no" or why), clicked (the item), shown (how many items), rank (its place, 0: not shown),
    known (how many clicks of the session), repeat (whether the item was among those).

    target: the event type that counts as a click. Raises InputError where nothing was served, or no event came.
    """
    served, live = root / "data/predictions", root / "data/live/events"
    window = f"moment >= {_moment(since)} AND moment < {_moment(until)}"
    lists = f"SELECT * FROM read_parquet({files_of(served, SERVED)}, hive_partitioning = false) WHERE {window}"
    with locked(lock_of(live), shared=True), duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        clicks = (
            f"SELECT * FROM read_parquet({files_of(live, CLICKED)}, hive_partitioning = false) "
            f"WHERE event_type = {quoted(target)} AND timestamp > {_moment(since)}"
        )
        try:
            return database.sql(_JUDGED.format(clicks=clicks, lists=lists, patience=patience_ms)).df()
        except duckdb.Error as error:
            raise InputError(f"{served} or {live}: a file cannot be read: {error}") from error


def as_promised(judged: pd.DataFrame, k: int) -> pd.DataFrame:
    """Those of the judged lists that were made as a promise at k was: not degraded, of a session with a known click,
    and long enough to hold the item. The others say nothing of the model."""
    return judged[(judged["degraded"] == "no") & (judged["known"] > 0) & (judged["shown"] >= k)]


def figures(judged: pd.DataFrame, k: int, seed: int) -> dict[str, Any]:
    """HR@k, MRR@k and NDCG@k of judged lists with their 95 % intervals over sessions, and how many they are.

    A list shorter than k can only hit less: `shorter` is the share of those.
    """
    found: dict[str, Any] = {"predictions": len(judged)}
    if judged.empty:
        return found
    sessions = pd.factorize(judged["session_id"])[0]
    for name, values in per_prediction(judged["rank"].to_numpy(np.int64), k).items():
        if not name.startswith("precision"):
            found |= {name: float(values.mean()), f"{name}_interval": interval(values, sessions, seed)}
    return {**found, "shorter": float((judged["shown"] < k).mean())}


def feedback(root: Path, since: datetime, until: datetime, params: Params) -> dict:
    """What became of the lists served in a window: figures of all, by version, of those that were degraded, and by
    slice, beside what was promised of the champion, and the facts of `service_facts`. The verdict is on the champion's
    lists that were made as its promise was.

    Its labels are complete when the last list has had its time to be clicked.
    """
    patience = params.monitoring.label_minutes * MINUTE
    judged = judged_lists(root, since, until, params.ingest.event_types[0], round(patience))
    k, seed = params.evaluation.k, params.run.seed
    figure = params.evaluation.figure
    bundle, promised = _promise(root, figure)
    its = judged[judged["model_version"] == bundle] if bundle else judged
    found = figures(judged, k, seed)
    low, high = figures(as_promised(its, k), k, seed).get(f"{figure}_interval", (None, None))
    return {
        "since": since.isoformat(),
        "until": until.isoformat(),
        "complete": datetime.now(UTC) >= until + timedelta(milliseconds=patience),
        **service_facts(root, since, until),
        **found,
        "champion": bundle,
        "promised": {figure: promised},
        "verdict": _verdict(promised, low, high),
        "by_version": {version: figures(part, k, seed) for version, part in judged.groupby("model_version")},
        "by_degraded": {reason: figures(part, k, seed) for reason, part in judged.groupby("degraded")},
        "by_slice": {
            slicing: {label: figures(part, k, seed) for label, part in judged.groupby(labels)}
            for slicing, labels in _slices(judged).items()
        },
    }


def _slices(judged: pd.DataFrame) -> dict[str, pd.Series]:
    """Those of the evaluation that a list and its click tell of."""
    known = pd.cut(judged["known"], [-1, 0, 1, 2, 4, np.inf], labels=["0", "1", "2", "3-4", "5+"]).astype(str)
    return {"known events": known, "repeat": judged["repeat"].map({True: "yes", False: "no"})}


def _verdict(promised: float | None, low: float | None, high: float | None) -> str:
    """Only an interval that lies wholly beside the promise says that it was missed."""
    if promised is None or low is None or high is None:
        return "unknown"
    return "below" if high < promised else "above" if low > promised else "as promised"


def _promise(root: Path, figure: str) -> tuple[str | None, float | None]:
    """The version of the bundle that answers, and what was promised of it; None where that is not known. The last run
    of the pipeline may have made another, so its figure counts only where no champion was placed."""
    bundle = Pointer.read(root, served_name()).bundle
    if (folder := reference_of(root / bundle)).is_dir():
        about = Reference.load(folder).about
        return about["bundle"], about["promised"] if about["figure"] == figure else None
    path = root / "reports/metrics/evaluate.json"
    return None, json.loads(path.read_text()).get(figure) if bundle == DEFAULT_BUNDLE and path.is_file() else None


def files_of(folder: Path, what: str) -> str:
    """A list of its Parquet files in SQL. Raises InputError, with what is expected there, where there are none."""
    files = parquet_files(folder) if folder.is_dir() else []
    if not files:
        raise InputError(f"{folder}: no Parquet files; expected {what}")
    return "[" + ", ".join(quoted(str(file)) for file in files) + "]"


def _moment(at: datetime) -> str:
    return f"make_timestamptz({round(at.timestamp() * 1e6)})"
