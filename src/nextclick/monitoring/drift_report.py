"""The drift command: gathers a window, judges it, writes what was found, and lets the notebook draw it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nextclick.bundle.bundle import load_bundle
from nextclick.bundle.pointer import Pointer, served_name
from nextclick.errors import InputError
from nextclick.events.tables import lock_of
from nextclick.files import locked
from nextclick.logs.published_statistics import known_events
from nextclick.logs.served import keys_of, live_events, served_lists, service_facts, unknown_clicks
from nextclick.monitoring.data_profile import COLUMNS
from nextclick.monitoring.feedback import MINUTE, as_promised, figures, judged_lists
from nextclick.monitoring.monitor import UNKNOWN, Monitor
from nextclick.monitoring.offline_replay import Replay, replay
from nextclick.monitoring.reference import PIPELINES, Reference, reference_of
from nextclick.monitoring.skew import computed_again
from nextclick.notebook import run_notebook
from nextclick.params import Params
from nextclick.ranking.recommender import Recommender

REPORTS, SEEN, NOTEBOOK = Path("reports/drift"), Path("data/drift"), "06_drift"
TRAIN = Path("data/split/train.parquet")
JUDGED = 20_000  # predictions of a file whose hits are counted; more hardly narrow the interval


class Judged(NamedTuple):
    """found: see `Monitor.judge`. inputs: what it rests on. served: the features that were served."""

    found: dict[str, Any]
    inputs: dict[str, str]
    served: pd.DataFrame
    reference: Reference


def drift_of_file(root: Path, path: Path, days: float | None, params: Params) -> dict[str, Any]:
    """Judge a Parquet file of canonical events, the last so many days of it (24 hours each, to its last event), as if
    the bundle had served them. Raises InputError where a file is not what it should be."""
    events = _events(path)
    earlier = pd.Series(False, events.index)
    if days and "timestamp" in events:
        earlier = events["timestamp"] < events["timestamp"].max() - pd.Timedelta(days=days)
    before, events = pd.concat([_events(root / TRAIN), events[earlier]]), events[~earlier]
    recommender, monitor, inputs = _loaded(root / PIPELINES, params)
    seen = _replayed(recommender, events, before, params)
    found = monitor.judge(events, seen.served, monitor.performance(seen.judged))
    if _is_stage():
        metrics = {"outcome": found["decision"]["outcome"], "drift": found["drift"], **found["performance"]}
        (root / "reports/metrics").mkdir(parents=True, exist_ok=True)
        (root / "reports/metrics/drift.json").write_text(_json(metrics))
    inputs["events"] = _sha256(path)
    first, last = (f"{at:%Y%m%d}" if pd.notna(at) else "undated" for at in _ends(events))
    name = f"{path.absolute().parent.name}-{path.stem}-{first}-{last}"  # other files may hold the same days
    return _written(root, name, Judged(found, inputs, seen.served, monitor.reference), params)


def drift_live(root: Path, since: datetime, until: datetime, params: Params) -> dict[str, Any]:
    """Judge what was served and what came in a window of the logs, and write the report; raises as `judge_logs`."""
    judged = judge_logs(root, since, until, params)
    return _written(root, f"{since:%Y%m%dT%H%M%S}-{until:%Y%m%dT%H%M%S}", judged, params)


def judge_logs(root: Path, since: datetime, until: datetime, params: Params) -> Judged:
    """A window of the champion. Raises InputError where it has no length or is still to come, and where a file of the
    logs is broken."""
    if not since < until or since > datetime.now(UTC):
        raise InputError(
            f"the window {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M}: expected one that began, since before until"
        )
    recommender, monitor, inputs = _loaded(root / Pointer.read(root, served_name()).bundle, params)
    version = inputs["bundle"]
    events = live_events(root, since, until)
    service = service_facts(root, since, until)
    performance, followed = dict(UNKNOWN), None
    if service["lists"] and len(events):
        performance, followed = _lived(root, since, until, version, params)
    performance["promised"] = monitor.reference.about["promised"]
    served = served_lists(root, since, until, params.evaluation.reference, version, followed)
    service["unknown_clicks"] = unknown_clicks(served.lists, events)
    known = known_events(root, round(until.timestamp() * 1000))
    known = known[known["event_type"].isin(params.ingest.event_types)]
    whole = (served.lists["shown"] >= params.evaluation.k).to_numpy(bool)
    lengths = served.lists["ranked"].str.len().to_numpy(np.int64)
    features = served.features.iloc[np.flatnonzero(np.repeat(whole, lengths))]  # those of fewer places are no drift
    found = monitor.judge(
        events,
        features,
        performance,
        window=(pd.Timestamp(since), pd.Timestamp(until)),
        pair=computed_again(recommender, served, known, params) if len(known) else None,
        service=service,
    )
    inputs["events"] = hashlib.sha256(pd.util.hash_pandas_object(events, index=False).to_numpy().tobytes()).hexdigest()
    return Judged(found, inputs, features, monitor.reference)


def _lived(
    root: Path, since: datetime, until: datetime, version: str, params: Params
) -> tuple[dict[str, Any], pd.MultiIndex | None]:
    """The deciding metric of this bundle's lists that were made as the promise was. And the keys of those that a click
    followed, of the reference's kind, None without any."""
    patience, k = params.monitoring.label_minutes * MINUTE, params.evaluation.k
    judged = judged_lists(root, since, until, params.ingest.event_types[0], round(patience))
    alike = judged[(judged["model_version"] == version) & (judged["degraded"] == "no")]
    found = figures(as_promised(alike, k), k, params.run.seed)
    figure = params.evaluation.figure
    performance = {
        "complete": datetime.now(UTC) >= until + timedelta(milliseconds=patience),
        "interval": found.get(f"{figure}_interval"),
        "value": found.get(figure),
        "predictions": found["predictions"],
        "shorter": int((alike["shown"] < k).sum()),
    }
    return performance, keys_of(alike) if len(alike) else None


def _is_stage() -> bool:
    """Whether DVC runs the pipeline's stage: no other window may change what that tracks."""
    return "DVC_STAGE" in os.environ


def _events(path: Path) -> pd.DataFrame:
    try:
        events = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no Parquet file of events: {error}") from error
    if "timestamp" in events and not isinstance(events["timestamp"].dtype, pd.DatetimeTZDtype):
        kind = events["timestamp"].dtype
        raise InputError(f"{path}: column timestamp: expected moments in UTC (datetime64[ms, UTC]), found {kind}")
    return events


def _loaded(bundle: Path, params: Params) -> tuple[Recommender, Monitor, dict[str, str]]:
    recommender, manifest = load_bundle(bundle)
    folder = reference_of(bundle)
    reference = Reference.load(folder)
    if reference.about["bundle"] != manifest["version"]:
        raise InputError(
            f"{folder}: the reference of bundle {reference.about['bundle']}, not of {manifest['version']}; "
            "run the stage `evaluate`"
        )
    inputs = {"bundle": manifest["version"], "reference": _sha256(folder / "served.parquet")}
    return recommender, Monitor(reference, recommender.snapshot.vocabulary.ids, params), inputs


def _replayed(recommender: Recommender, events: pd.DataFrame, before: pd.DataFrame, params: Params) -> Replay:
    """Of the events that can be read as such. before: those that came earlier."""
    if not set(COLUMNS) <= set(events):
        return Replay(pd.DataFrame({"session": [], "moment": []}), pd.DataFrame({"session": [], "rank": []}))
    types = params.ingest.event_types
    usable, known = (
        table.dropna(subset=list(COLUMNS)).drop_duplicates("event_id").loc[lambda rows: rows["event_type"].isin(types)]
        for table in (events, before)
    )
    return replay(
        recommender,
        usable,
        known,
        types,
        features=params.features,
        k=params.evaluation.k,
        most=params.evaluation.reference,
        seed=params.run.seed,
        judged=JUDGED,
    )


def _written(root: Path, window: str, judged: Judged, params: Params) -> dict[str, Any]:
    found = judged.found
    folder, scratch = root / REPORTS / window, root / SEEN
    decision = {
        "kind": "drift",
        "window": window,
        "inputs": judged.inputs | {"monitoring": params.monitoring.model_dump_json()},
        **found["decision"],
        "evidence": {name: found[name] for name in ("facts", "facts_before", "performance", "age_days", "drift")}
        | {"moved": [row["column"] for row in found["columns"] if row["drifted"]], "skewed": found["skewed"]}
        | {"said": found["said"], "service": found["service"]},
    }
    try:
        with locked(lock_of(scratch)):  # the notebook reads from there: one window after the other
            for place in (folder, scratch):
                place.mkdir(parents=True, exist_ok=True)
            (folder / "drift.json").write_text(_json(found))
            (folder / "decision.json").write_text(_json(decision))
            # who the sessions were is of no use there, and `forget` need not look for them
            served = judged.served.assign(session=pd.factorize(judged.served["session"])[0])
            served.to_parquet(scratch / "served.parquet", index=False)
            (scratch / "window.json").write_text(json.dumps({"folder": str(folder.relative_to(root))}))
            judged.reference.save(scratch / "reference")
            if _is_stage():
                shutil.copy(run_notebook(NOTEBOOK, root), folder)
            else:
                run_notebook(NOTEBOOK, root, folder.relative_to(root))
    except OSError as error:
        raise InputError(f"{folder}: the report cannot be written: {error}") from error
    return json.loads(_json({**decision, "report": str((folder / "report.html").relative_to(root))}))


def _json(value: Any) -> str:
    """As text; numbers of NumPy are numbers, and what is missing is null."""
    plain = pd.Series([value]).to_json(orient="values", double_precision=10)  # type: ignore[call-overload]
    return json.dumps(json.loads(plain)[0], indent=1) + "\n"


def _ends(events: pd.DataFrame) -> tuple[Any, Any]:
    times = events["timestamp"] if "timestamp" in events else pd.Series([], dtype="datetime64[ms, UTC]")
    return times.min(), times.max()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
