"""The drift command: gathers a window, judges it, writes what was found, and lets the notebook draw it."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from nextclick.errors import InputError
from nextclick.monitoring.facts import COLUMNS
from nextclick.monitoring.feedback import feedback
from nextclick.monitoring.reference import FOLDER, Reference
from nextclick.monitoring.replay import Replay, replay
from nextclick.monitoring.served import live_events, served_features
from nextclick.monitoring.window import UNKNOWN, Monitor
from nextclick.notebook import run_notebook
from nextclick.params import Params
from nextclick.ranking.bundle import load_bundle
from nextclick.ranking.recommender import Recommender

REPORTS, SEEN, NOTEBOOK = Path("reports/drift"), Path("data/drift"), "06_drift"


def drift_of_file(root: Path, path: Path, days: float | None, params: Params) -> dict[str, Any]:
    """Judge a Parquet file of canonical events, the last so many days of it, as if the bundle had served them."""
    try:
        events = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no Parquet file of events: {error}") from error
    if days and "timestamp" in events and events["timestamp"].notna().any():
        until = events["timestamp"].max().floor("D") + pd.Timedelta(days=1)
        events = events[~(events["timestamp"] < until - pd.Timedelta(days=days))]
    recommender, monitor, inputs = _loaded(root, params)
    seen = _replayed(root, recommender, events, params)
    found = monitor.judge(events, seen.served, monitor.performance(seen.judged))
    metrics = {"outcome": found["decision"]["outcome"], "drift": found["drift"], **found["performance"]}
    (root / "reports/metrics").mkdir(parents=True, exist_ok=True)
    (root / "reports/metrics/drift.json").write_text(_json(metrics))
    inputs["events"] = _sha256(path)
    first, last = (f"{at:%Y%m%d}" if pd.notna(at) else "undated" for at in _ends(events))
    return _written(root, f"{first}-{last}", found, inputs, seen.served, params)


def drift_live(root: Path, since: datetime, until: datetime, params: Params) -> dict[str, Any]:
    """Judge what was served and what came in a window of the logs."""
    recommender, monitor, inputs = _loaded(root, params)
    events = live_events(root, since, until)
    served = served_features(root, since, until, params.evaluation.reference)
    try:
        kept = feedback(root, since, until, params)
        bounds = kept.get(f"{monitor.reference.about['figure']}_interval")
        performance = {"complete": kept["complete"], "interval": bounds}
    except InputError:  # nothing was served, or nothing came
        performance = dict(UNKNOWN)
    performance["promised"] = monitor.reference.about["promised"]
    again = _replayed(root, recommender, events, params).served if len(served) else None
    found = monitor.judge(events, served, performance, replayed=again)
    inputs["events"] = hashlib.sha256(pd.util.hash_pandas_object(events, index=False).to_numpy().tobytes()).hexdigest()
    return _written(root, f"{since:%Y%m%dT%H%M}-{until:%Y%m%dT%H%M}", found, inputs, served, params)


def _loaded(root: Path, params: Params) -> tuple[Recommender, Monitor, dict[str, str]]:
    recommender, manifest = load_bundle(root / "models/bundle")
    reference = Reference.load(root / FOLDER)
    if reference.about["bundle"] != manifest["version"]:
        raise InputError(
            f"{root / FOLDER}: the reference of bundle {reference.about['bundle']}, not of {manifest['version']}; "
            "run the stage `evaluate`"
        )
    inputs = {"bundle": manifest["version"], "reference": _sha256(root / FOLDER / "served.parquet")}
    return recommender, Monitor(reference, recommender.snapshot.vocabulary.ids, params), inputs


def _replayed(root: Path, recommender: Recommender, events: pd.DataFrame, params: Params) -> Replay:
    """Of the events that can be read as such."""
    if not set(COLUMNS) <= set(events):
        return Replay(pd.DataFrame({"session": [], "moment": []}), pd.DataFrame({"session": [], "rank": []}))
    types = params.ingest.event_types
    usable = events.dropna(subset=list(COLUMNS)).drop_duplicates("event_id")
    usable = usable[usable["event_type"].isin(types)]
    return replay(
        recommender,
        usable,
        pd.read_parquet(root / "data/split/train.parquet"),
        types,
        features=params.features,
        k=params.evaluation.k,
        most=params.evaluation.reference,
        seed=params.run.seed,
    )


def _written(
    root: Path, window: str, found: dict[str, Any], inputs: dict[str, str], served: pd.DataFrame, params: Params
) -> dict[str, Any]:
    folder, scratch = root / REPORTS / window, root / SEEN
    decision = {
        "kind": "drift",
        "window": window,
        "inputs": inputs | {"monitoring": params.monitoring.model_dump_json()},
        **found["decision"],
        "evidence": {name: found[name] for name in ("facts", "facts_before", "performance", "age_days", "drift")}
        | {"moved": [row["column"] for row in found["columns"] if row["drifted"]], "skewed": found["skewed"]}
        | {"said": found["said"]},
    }
    for place in (folder, scratch):
        place.mkdir(parents=True, exist_ok=True)
    (folder / "drift.json").write_text(_json(found))
    (folder / "decision.json").write_text(_json(decision))
    served.to_parquet(scratch / "served.parquet", index=False)
    (scratch / "window.json").write_text(json.dumps({"folder": str(folder.relative_to(root))}))
    shutil.copy(run_notebook(NOTEBOOK, root), folder / f"{NOTEBOOK}.ipynb")
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
