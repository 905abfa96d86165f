"""Gathers a window, evaluates it, and writes its report, whose notebook draws it: what `nextclick drift` does."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nextclick.bundle.bundle import load_bundle
from nextclick.bundle.pointer import Pointer, served_name
from nextclick.errors import InputError
from nextclick.events.click_order import with_positions
from nextclick.events.schema import EVENT_IDENTITY
from nextclick.events.tables import lock_of
from nextclick.files import locked, sha256_of
from nextclick.logs.event_log import events_before, live_events
from nextclick.logs.prediction_log import keys_of, served_lists, service_report, unknown_clicks
from nextclick.monitoring.data_profile import REQUIRED_FIELDS
from nextclick.monitoring.feedback import ListMetrics, as_promised, clicked_lists, label_ms
from nextclick.monitoring.monitor import DriftFinding, Monitor
from nextclick.monitoring.offline_replay import Replay, replay
from nextclick.monitoring.policy import Performance
from nextclick.monitoring.reference import PIPELINE_BUNDLE, Reference, reference_of
from nextclick.monitoring.skew import recomputed
from nextclick.notebook import run_notebook
from nextclick.params import Params
from nextclick.ranking.recommender import Recommender
from nextclick.units import MS_PER_SECOND

REPORTS, DRAWN, NOTEBOOK = Path("reports/drift"), Path("data/drift"), "06_drift"  # DRAWN: what the notebook reads
TRAIN = Path("data/split/train.parquet")
MAX_PREDICTIONS = 20_000  # of a file that are evaluated; more hardly narrow the interval


@dataclass(frozen=True)
class DriftVerdict:
    """inputs: what the finding rests on, by version or hash. served: the features that were served."""

    finding: DriftFinding
    inputs: dict[str, str]
    served: pd.DataFrame
    reference: Reference

    def to_dict(self, window: str, params: Params) -> dict[str, Any]:
        """The decision record of a window. params: those that the finding rests on."""
        finding = self.finding.to_dict()
        evidence = ("facts", "facts_before", "performance", "age_days", "drift")
        return {
            "kind": "drift",
            "window": window,
            "inputs": self.inputs | {"monitoring": params.monitoring.model_dump_json()},
            **finding["decision"],
            "evidence": {name: finding[name] for name in evidence}
            | {"moved": [column.column for column in self.finding.columns if column.drifted]}
            | {name: finding[name] for name in ("skewed", "said", "service")},
        }


def drift_of_file(root: Path, path: Path, days: float | None, params: Params) -> dict[str, Any]:
    """Evaluate a Parquet file of canonical events, its last so many days (24 hours each, to its last event), as if the
    bundle had served them; returns the decision record. Raises InputError if a file is invalid."""
    events = _read_events(path)
    earlier = pd.Series(False, events.index)
    if days and "timestamp" in events:
        earlier = events["timestamp"] < events["timestamp"].max() - pd.Timedelta(days=days)
    before, events = pd.concat([_read_events(root / TRAIN), events[earlier]]), events[~earlier]
    recommender, monitor, inputs = load_monitor(root / PIPELINE_BUNDLE, params)
    seen = replay_usable(recommender, events, before, params)
    finding = monitor.evaluate(events, seen.served, monitor.performance(seen.predictions))
    if _is_stage():
        metrics = {"outcome": finding.decision.outcome, "drift": finding.drift, **finding.performance.to_dict()}
        (root / "reports/metrics").mkdir(parents=True, exist_ok=True)
        (root / "reports/metrics/drift.json").write_text(_json(metrics))
    inputs["events"] = sha256_of(path)
    times = events["timestamp"] if "timestamp" in events else pd.Series([], dtype="datetime64[ms, UTC]")
    first, last = (f"{at:%Y%m%d}" if pd.notna(at) else "undated" for at in (times.min(), times.max()))
    window = f"{path.absolute().parent.name}-{path.stem}-{first}-{last}"  # other files may hold the same days
    return _write_report(root, window, DriftVerdict(finding, inputs, seen.served, monitor.reference), params)


def drift_live(root: Path, since: datetime, until: datetime, params: Params) -> dict[str, Any]:
    """Evaluate a window of the logs and write the report; returns the decision record. Raises as `evaluate_logs`."""
    verdict = evaluate_logs(root, since, until, params)
    return _write_report(root, f"{since:%Y%m%dT%H%M%S}-{until:%Y%m%dT%H%M%S}", verdict, params)


def evaluate_logs(root: Path, since: datetime, until: datetime, params: Params) -> DriftVerdict:
    """Evaluate what the champion served and what events came in a window. Raises InputError if the window has no length
    or is still to come, and if a file of the logs is corrupt."""
    if not since < until or since > datetime.now(UTC):
        raise InputError(
            f"the window {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M}: expected one that began, since before until"
        )
    recommender, monitor, inputs = load_monitor(root / Pointer.read(root, served_name()).bundle, params)
    version = inputs["bundle"]
    events = live_events(root, since, until)
    service = service_report(root, since, until)
    promised = monitor.reference.about.promised
    performance, followed = Performance(complete=True, interval=None, promised=promised), None
    if service.lists and len(events):
        performance, followed = _live_performance(root, since, until, version, promised, params)
    served = served_lists(root, since, until, params.evaluation.reference, version, followed)
    service = service.model_copy(update={"unknown_clicks": unknown_clicks(served.lists, events)})
    known = events_before(root, round(until.timestamp() * MS_PER_SECOND))
    known = known[known["event_type"].isin(params.ingest.event_types)]
    whole = (served.lists["shown"] >= params.evaluation.k).to_numpy(bool)
    lengths = served.lists["ranked"].str.len().to_numpy(np.int64)
    features = served.features.iloc[np.flatnonzero(np.repeat(whole, lengths))]  # fewer ranks are no drift
    finding = monitor.evaluate(
        events,
        features,
        performance,
        window=(pd.Timestamp(since), pd.Timestamp(until)),
        pair=recomputed(recommender, served, known, params) if len(known) else None,
        service=service,
    )
    inputs["events"] = hashlib.sha256(pd.util.hash_pandas_object(events, index=False).to_numpy().tobytes()).hexdigest()
    return DriftVerdict(finding, inputs, features, monitor.reference)


def _live_performance(
    root: Path, since: datetime, until: datetime, version: str, promised: float | None, params: Params
) -> tuple[Performance, pd.MultiIndex | None]:
    """The deciding metric of this bundle's lists that were made as the promise was, and the keys of its lists that a
    click followed and that were not degraded, None without any."""
    within_ms, k, metric = label_ms(params), params.evaluation.k, params.evaluation.metric
    clicked = clicked_lists(root, since, until, params.ingest.event_types[0], within_ms)
    its = clicked[(clicked["model_version"] == version) & (clicked["degraded"] == "no")]
    metrics = ListMetrics.of(as_promised(its, k), k, params.run.seed)
    performance = Performance(
        complete=datetime.now(UTC) >= until + timedelta(milliseconds=within_ms),
        interval=metrics.interval(metric),
        value=metrics.value(metric),
        predictions=metrics.predictions,
        shorter=int((its["shown"] < k).sum()),
        promised=promised,
    )
    return performance, keys_of(its) if len(its) else None


def _is_stage() -> bool:
    """Whether DVC runs the pipeline's stage: no other window may change what DVC tracks."""
    return "DVC_STAGE" in os.environ


def _read_events(path: Path) -> pd.DataFrame:
    try:
        events = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no Parquet file of events: {error}") from error
    if "timestamp" in events and not isinstance(events["timestamp"].dtype, pd.DatetimeTZDtype):
        kind = events["timestamp"].dtype
        raise InputError(f"{path}: column timestamp: expected times in UTC (datetime64[ms, UTC]), got {kind}")
    return with_positions(events)


def load_monitor(bundle: Path, params: Params) -> tuple[Recommender, Monitor, dict[str, str]]:
    """The bundle's recommender, a monitor with its reference, and the version or hash of both. Raises InputError if one
    of them is missing or corrupt, or if the reference is another bundle's."""
    recommender, manifest = load_bundle(bundle)
    folder = reference_of(bundle)
    reference = Reference.load(folder)
    if reference.about.bundle != manifest["version"]:
        raise InputError(
            f"{folder}: the reference of bundle {reference.about.bundle}, not of {manifest['version']}; "
            "run the stage `evaluate`"
        )
    inputs = {"bundle": manifest["version"], "reference": sha256_of(folder / "served.parquet")}
    return recommender, Monitor(reference, recommender.snapshot.vocabulary.ids, params), inputs


def replay_usable(recommender: Recommender, events: pd.DataFrame, before: pd.DataFrame, params: Params) -> Replay:
    """Replay the events that have all columns and a known type. before: those that came earlier."""
    if not set(REQUIRED_FIELDS) <= set(events):
        return Replay(pd.DataFrame({"session": [], "moment": []}), pd.DataFrame({"session": [], "rank": []}))
    types = params.ingest.event_types
    usable, earlier = (
        table.dropna(subset=list(REQUIRED_FIELDS))
        .drop_duplicates(list(EVENT_IDENTITY))
        .loc[lambda rows: rows["event_type"].isin(types)]
        for table in (events, before)
    )
    return replay(
        recommender,
        usable,
        earlier,
        types,
        features=params.features,
        k=params.evaluation.k,
        max_served=params.evaluation.reference,
        seed=params.run.seed,
        max_predictions=MAX_PREDICTIONS,
    )


def _write_report(root: Path, window: str, verdict: DriftVerdict, params: Params) -> dict[str, Any]:
    """Write what was found and the decision record, and draw the report; returns the record with the report's path.
    Raises InputError if it cannot be written."""
    folder, drawn = root / REPORTS / window, root / DRAWN
    record = verdict.to_dict(window, params)
    try:
        with locked(lock_of(drawn)):  # the notebook reads from there: one window after the other
            for made in (folder, drawn):
                made.mkdir(parents=True, exist_ok=True)
            (folder / "drift.json").write_text(_json(verdict.finding.to_dict()))
            (folder / "decision.json").write_text(_json(record))
            # who the sessions were is of no use there, and `forget` need not search there
            served = verdict.served.assign(session=pd.factorize(verdict.served["session"])[0])
            served.to_parquet(drawn / "served.parquet", index=False)
            (drawn / "window.json").write_text(json.dumps({"folder": str(folder.relative_to(root))}))
            verdict.reference.save(drawn / "reference")
            if _is_stage():
                shutil.copy(run_notebook(NOTEBOOK, root), folder)
            else:
                run_notebook(NOTEBOOK, root, folder.relative_to(root))
    except OSError as error:
        raise InputError(f"{folder}: the report cannot be written: {error}") from error
    return json.loads(_json({**record, "report": str((folder / "report.html").relative_to(root))}))


def _json(value: Any) -> str:
    """As JSON text with ten decimals; numbers of NumPy are numbers, and what is missing is null."""
    plain = pd.Series([value]).to_json(orient="values", double_precision=10)  # type: ignore[call-overload]
    return json.dumps(json.loads(plain)[0], indent=1) + "\n"
