"""May a challenger take over? It and the champion are measured on the newest held-out window; what was seen, the rule
and the verdict become a decision record, and a notebook shows them."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from nextclick.bundle.bundle import load_bundle
from nextclick.errors import InputError
from nextclick.evaluation.inference import Comparison, compare
from nextclick.evaluation.metrics import per_prediction
from nextclick.files import sha256_of
from nextclick.lifecycle.candidate import Candidate, Window, baseline_ranks, labels_of
from nextclick.lifecycle.guards import Guard, guards, lifelike, plausible
from nextclick.lifecycle.promotion import promise
from nextclick.lifecycle.records import read_records, write_record
from nextclick.notebook import run_notebook
from nextclick.params import Gate, Params

Verdict = Literal["promote", "hold", "reject"]
SEEN = Path("data/gate")  # what the notebook draws
NOTEBOOK = "07_gate"


def judge(
    challenger: Path,
    champion: Path | None,
    window: Window,
    params: Params,
    look: int = 1,
    promised: float | None = None,
) -> dict[str, Any]:
    """The verdict with its evidence. champion: None where there is none yet; the best baseline then takes its place.
    promised: what the champion was promoted on. look: how often this challenger is judged, this time included.

    A challenger that cannot be loaded is rejected with the reason; a champion that cannot raises InputError.
    """
    theirs = Candidate.load(champion, window, params) if champion else None
    try:
        ours = Candidate.load(challenger, window, params)
    except (InputError, ValueError, OSError, KeyError) as error:
        return {"verdict": "reject", "reason": f"cannot be loaded: {error}"}
    figure = params.evaluation.figure
    values, sessions = per_prediction(ours.ranks, params.evaluation.k)[figure], ours.prefixes.sessions
    ranks = {"champion": theirs.ranks} if theirs else baseline_ranks(window, ours)
    rivals = {name: per_prediction(found, params.evaluation.k)[figure] for name, found in ranks.items()}
    rival = max(rivals, key=lambda name: rivals[name].mean()) if len(values) else next(iter(rivals))
    comparison = compare(values, rivals[rival], sessions, params.run.seed, params.gate.alpha / params.gate.looks)
    found = guards(ours, theirs, window, params)
    if theirs:
        found.append(plausible(comparison, params))
    if promised is not None:
        found.append(lifelike(comparison, promised, params))
    fresher = bool(theirs and ours.knows_until - theirs.knows_until >= pd.Timedelta(hours=params.gate.fresher_hours))
    verdict, reason = decide(comparison, found, params, fresher, len(np.unique(sessions)), look)
    return {
        "verdict": verdict,
        "reason": reason,
        "metric": {"name": figure, **asdict(comparison)},
        "rival": rival,
        "fresher": fresher,
        "guards": [{**asdict(guard), "status": guard.status} for guard in found],
        "window": {
            "from": window.opens.isoformat(),
            "until": window.test["timestamp"].max().isoformat(),
            "sessions": len(np.unique(sessions)),
            "predictions": len(values),
        },
        "predictions": _predictions(ours, ranks[rival]),
    }


def decide(
    comparison: Comparison, found: list[Guard], params: Params, fresher: bool, sessions: int, look: int
) -> tuple[Verdict, str]:
    """Broken guards reject and missing ones hold, before the metric is asked."""
    broken = [guard for guard in found if guard.status == "fail"]
    missing = [guard for guard in found if guard.status == "missing"]
    if broken:
        return "reject", "; ".join(
            f"{guard.name}: {guard.value:.4g} > {guard.limit:.4g} ({guard.detail})" for guard in broken
        )
    if missing:
        return "hold", "; ".join(f"{guard.name} is missing ({guard.detail})" for guard in missing)
    if sessions < params.gate.sessions:
        return "hold", f"{sessions} sessions in the window; gate.sessions asks for {params.gate.sessions}"
    if look > params.gate.looks:
        return "hold", f"judged {look - 1} times before; gate.looks allows {params.gate.looks}"
    return conclude(comparison, params.gate, fresher)


def conclude(comparison: Comparison, limits: Gate, fresher: bool) -> tuple[Verdict, str]:
    """The verdict of the deciding metric, and the reason. fresher: whether the challenger knows much newer data, so
    that being no worse justifies a change; of two that know equally new data only a better one is promoted."""
    low, high = comparison.low, comparison.high
    if not np.isfinite([low, high]).all():
        return "hold", "the deciding metric is missing"
    if high < 0:
        return "reject", f"worse beyond chance: at most {high:+.2%}"
    if low > 0:
        return "promote", f"better beyond chance: at least {low:+.2%}"
    if fresher and low > -limits.margin:
        return "promote", f"knows newer data and is no worse: at least {low:+.2%}, the margin is {-limits.margin:.2%}"
    return "hold", f"not shown to be better, nor worse: {low:+.2%} to {high:+.2%}"


def gate(root: Path, params: Params, challenger: Path, champion: Path | None, name: str) -> dict[str, Any]:
    """Judge, write the record and the notebook; the same inputs are judged once, and then known.

    The record is reports/decisions/gate-CHALLENGER-CHAMPION-INPUTS.json, the notebook lies beside it.
    """
    bundles = {"challenger": bundle_name(challenger), "champion": bundle_name(champion) if champion else None}
    inputs = {part: sha256_of(root / f"data/split/{part}.parquet") for part in ("train", "test")}
    inputs |= {part: getattr(params, part).model_dump_json() for part in ("gate", "evaluation", "features")}
    key = f"{bundles['challenger']}-{bundles['champion'] or 'baselines'}-{_short(inputs)}"
    for record in (before := read_records(root, "gate")):
        if record["key"] == key:
            return record
    look = 1 + len({record["inputs"]["test"] for record in before if _same(record, bundles)} - {inputs["test"]})
    promised = promise(root, bundles["champion"], params.evaluation.figure)
    judged = judge(challenger, champion, Window.read(root), params, look, promised)
    predictions = judged.pop("predictions", None)
    record = {"key": key, "recommender": name, **bundles, "inputs": inputs, "look": look, **judged}
    if predictions is not None:
        folder = root / SEEN
        folder.mkdir(parents=True, exist_ok=True)
        predictions.to_parquet(folder / "predictions.parquet", index=False)
        (folder / "record.json").write_text(json.dumps(record, indent=1))
        drawn = run_notebook(NOTEBOOK, root)
        beside = root / "reports/decisions" / f"gate-{key}.ipynb"
        beside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(drawn, beside)
    path = write_record(root, "gate", record, key)
    return {**json.loads(path.read_text()), "file": str(path.relative_to(root))}


def bundle_name(folder: Path) -> str:
    """The version, where every file is the one that the manifest names: else nobody would know what was judged. Of a
    bundle that is not whole the folder's name, with a hash of what lies there."""
    try:
        return str(load_bundle(folder)[1]["version"])
    except (InputError, ValueError, OSError, KeyError):
        found = {path.name: sha256_of(path) for path in folder.iterdir() if path.is_file()}
        return f"{folder.name}-{_short(found)}"


def _same(record: dict[str, Any], bundles: dict[str, str | None]) -> bool:
    return all(record[role] == bundle for role, bundle in bundles.items())


def _short(inputs: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:8]


def _predictions(ours: Candidate, theirs: np.ndarray) -> pd.DataFrame:
    """One row a prediction: session, both ranks, and its slices."""
    ranks = {"session": ours.prefixes.sessions, "challenger": ours.ranks, "champion": theirs}
    return pd.concat([pd.DataFrame(ranks), labels_of(ours)], axis=1)
