"""How good the served lists were: joins each click with the newest list served to its session before it.

The protocol is that of the evaluation: one prediction a click, and the rank of the clicked item in the list. So the
metrics can be compared with those that the evaluation promised.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np
import pandas as pd

from nextclick.bundle.pointer import DEFAULT_BUNDLE, Pointer, served_name
from nextclick.errors import InputError
from nextclick.evaluation.metrics import per_prediction
from nextclick.evaluation.slices import by_known_events
from nextclick.evaluation.statistics.bootstrap import bootstrap_interval
from nextclick.events.schema import quoted
from nextclick.events.tables import each_event_once, lock_of, parquet_rows, utc_database
from nextclick.files import locked
from nextclick.logs.event_log import LIVE_EVENTS
from nextclick.logs.parquet_log import existing_files, sql_time
from nextclick.logs.prediction_log import PREDICTIONS, ServiceReport, lists_sql, service_report
from nextclick.monitoring.reference import Reference, reference_of
from nextclick.params import Params
from nextclick.result import Result
from nextclick.units import MS_PER_MINUTE

CLICKED = "the clicks that came, by `nextclick stream` or POST /events"
PromiseVerdict = Literal["below", "as promised", "above", "unknown"]

# a click belongs to the newest list before it, a list to the first click after it: a list that was never acted on (a
# page that was loaded again), or that an earlier click had answered, is no prediction of this one;
# the id of a request identifies no list: a batch has one for all, and a client may send the same again
_CLICKED = """
    WITH clicks AS (
        SELECT session_id, item_id, timestamp FROM ({clicks})
        {once}
    ),
    lists AS (SELECT request_id, session_id, moment, model_version, degraded, shown, state FROM {lists})
    SELECT request_id, lists.session_id, moment, model_version, coalesce(degraded, 'no') AS degraded,
        item_id AS clicked, len(shown) AS shown, coalesce(list_position(shown, item_id), 0) AS rank,
        len(state) AS known,
        coalesce(list_contains(list_transform(state, lambda click: click.item_id), item_id), false) AS repeat
    FROM clicks ASOF JOIN lists ON clicks.session_id = lists.session_id AND clicks.timestamp > lists.moment
    WHERE clicks.timestamp - lists.moment <= INTERVAL ({within_ms}) MILLISECOND
    QUALIFY row_number() OVER (
        PARTITION BY request_id, lists.session_id, moment ORDER BY clicks.timestamp, item_id
    ) = 1
    ORDER BY moment, request_id, lists.session_id
"""


def clicked_lists(root: Path, since: datetime, until: datetime, target: str, within_ms: int) -> pd.DataFrame:
    """Lists served in a window that a click followed within `within_ms`, a row each: request_id, session_id, moment,
    model_version, degraded ("no" or why), clicked (the item), shown (how many items), rank (of the clicked item, 0: not
    shown), known (how many clicks of the session the list knew), repeat (whether the item was among those).

    target: the event type that counts as a click. Raises InputError if nothing was served, or no event came.
    """
    live = root / LIVE_EVENTS
    lists = lists_sql(root, since, until)
    with locked(lock_of(live), shared=True), utc_database() as database:
        clicks = (
            f"SELECT * FROM {parquet_rows(existing_files(live, CLICKED))} "
            f"WHERE event_type = {quoted(target)} AND timestamp > {sql_time(since)}"
        )
        once = each_event_once("timestamp, item_id")
        try:
            return database.sql(_CLICKED.format(clicks=clicks, once=once, lists=lists, within_ms=within_ms)).df()
        except duckdb.Error as error:
            raise InputError(f"{root / PREDICTIONS} or {live}: a file cannot be read: {error}") from error


def label_ms(params: Params) -> int:
    """The time that a list has to be clicked, in ms."""
    return round(params.monitoring.label_minutes * MS_PER_MINUTE)


def as_promised(clicked: pd.DataFrame, k: int) -> pd.DataFrame:
    """Those of the clicked lists that were made as a promise at k was: not degraded, of a session with a known click,
    and long enough to hold the item. The others say nothing of the model."""
    return clicked[(clicked["degraded"] == "no") & (clicked["known"] > 0) & (clicked["shown"] >= k)]


def first_lists(clicked: pd.DataFrame, most: int) -> pd.DataFrame:
    """The first `most` lists of each session, so that no single visitor decides. clicked: see `clicked_lists`."""
    return clicked.sort_values(["session_id", "moment", "request_id"]).groupby("session_id").head(most)


class ListMetrics(Result):
    """HR@k, MRR@k and NDCG@k of clicked lists, named as in mrr@20, each with its 95 % interval over sessions (as in
    mrr@20_interval), and `shorter`, the share of lists of fewer than k items, which can only hit less. Without
    predictions it has `predictions` alone."""

    predictions: int

    @classmethod
    def of(cls, clicked: pd.DataFrame, k: int, seed: int) -> ListMetrics:
        """clicked: see `clicked_lists`."""
        metrics: dict[str, Any] = {"predictions": len(clicked)}
        if clicked.empty:
            return cls.model_validate(metrics)
        sessions = pd.factorize(clicked["session_id"])[0]
        for name, values in per_prediction(clicked["rank"].to_numpy(np.int64), k).items():
            if not name.startswith("precision"):
                metrics |= {name: float(values.mean()), f"{name}_interval": bootstrap_interval(values, sessions, seed)}
        return cls.model_validate({**metrics, "shorter": float((clicked["shown"] < k).mean())})

    def value(self, name: str) -> float | None:
        return (self.model_extra or {}).get(name)

    def interval(self, name: str) -> list[float] | None:
        return (self.model_extra or {}).get(f"{name}_interval")


class Feedback(Result):
    """What became of the lists served in a window; in JSON the parts `service` and `metrics` are not nested. since,
    until: ISO text. complete: whether every list has had its time to be clicked. champion: the version of the bundle
    that answers, None if it is unknown. by_slice: by the name of the slicing, then by label."""

    since: str
    until: str
    complete: bool
    service: ServiceReport
    metrics: ListMetrics
    champion: str | None
    promised: dict[str, float | None]
    verdict: PromiseVerdict
    by_version: dict[str, ListMetrics]
    by_degraded: dict[str, ListMetrics]
    by_slice: dict[str, dict[str, ListMetrics]]

    def to_dict(self) -> dict[str, Any]:
        parts = super().to_dict()
        flat = {name: parts.pop(name) for name in ("since", "until", "complete")}
        return flat | parts.pop("service") | parts.pop("metrics") | parts


def feedback(root: Path, since: datetime, until: datetime, params: Params) -> Feedback:
    """The metrics of all lists served in a window that a click followed, by version, by why they were degraded, and by
    slice. The verdict compares the champion's lists that were made as its promise was with that promise."""
    within_ms = label_ms(params)
    clicked = clicked_lists(root, since, until, params.ingest.event_types[0], within_ms)
    k, seed, metric = params.evaluation.k, params.run.seed, params.evaluation.metric
    bundle, promised = _promise(root, metric)
    its = clicked[clicked["model_version"] == bundle] if bundle else clicked

    def by(labels: str | pd.Series) -> dict[str, ListMetrics]:
        return {str(label): ListMetrics.of(part, k, seed) for label, part in clicked.groupby(labels)}

    return Feedback(
        since=since.isoformat(),
        until=until.isoformat(),
        complete=datetime.now(UTC) >= until + timedelta(milliseconds=within_ms),
        service=service_report(root, since, until),
        metrics=ListMetrics.of(clicked, k, seed),
        champion=bundle,
        promised={metric: promised},
        verdict=_verdict(promised, ListMetrics.of(as_promised(its, k), k, seed).interval(metric)),
        by_version=by("model_version"),
        by_degraded=by("degraded"),
        by_slice={slicing: by(labels) for slicing, labels in _slices(clicked).items()},
    )


def _slices(clicked: pd.DataFrame) -> dict[str, pd.Series]:
    """Those of the evaluation's slicings that a list and its click have."""
    known = pd.Series(by_known_events(clicked["known"].to_numpy()), clicked.index)
    return {"known events": known, "repeat": clicked["repeat"].map({True: "yes", False: "no"})}


def _verdict(promised: float | None, interval: list[float] | None) -> PromiseVerdict:
    """Only an interval that lies wholly beside the promise shows that it was missed."""
    if promised is None or interval is None:
        return "unknown"
    low, high = interval
    return "below" if high < promised else "above" if low > promised else "as promised"


def _promise(root: Path, metric: str) -> tuple[str | None, float | None]:
    """The version of the bundle that answers, and what was promised of it; None if that is unknown. The last run of the
    pipeline may have made another bundle, so its metric counts only if no champion was deployed."""
    bundle = Pointer.read(root, served_name()).bundle
    if (folder := reference_of(root / bundle)).is_dir():
        about = Reference.load(folder).about
        return about.bundle, about.promised if about.figure == metric else None
    path = root / "reports/metrics/evaluate.json"
    return None, json.loads(path.read_text()).get(metric) if bundle == DEFAULT_BUNDLE and path.is_file() else None
