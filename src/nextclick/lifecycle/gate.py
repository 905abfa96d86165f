"""May a challenger take over? It and the champion are measured on the newest held-out window; evidence, rule and
verdict become a decision record, and a notebook shows them."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from nextclick.bundle.bundle import load_bundle
from nextclick.errors import InputError
from nextclick.evaluation.metrics import per_prediction
from nextclick.evaluation.statistics.paired import MIN_DIFFERING, Comparison, compare
from nextclick.files import sha256_of
from nextclick.lifecycle.candidate import Candidate, Window, baseline_ranks, labels_of
from nextclick.lifecycle.guards import Guard, gain_is_plausible, guards, window_is_representative
from nextclick.lifecycle.promotion import promised_by_gate
from nextclick.lifecycle.records import RECORDS, ComparedMetric, GateRecord, Verdict, read_records, write_record
from nextclick.notebook import run_notebook
from nextclick.params import Gate, Params

DRAWN = Path("data/gate")  # what the notebook reads
NOTEBOOK = "07_gate"


def evaluate(
    challenger: Path,
    champion: Path | None,
    window: Window,
    params: Params,
    look: int = 1,
    promised: float | None = None,
) -> tuple[GateRecord, pd.DataFrame | None]:
    """The verdict with its evidence, and a row a prediction: session, both ranks, and its slices.

    champion: None if there is none yet; the best baseline then takes its place. promised: what the champion was
    promoted on. look: how often this challenger is evaluated against this champion, this time included.
    A challenger that cannot be loaded is rejected with the reason; a champion that cannot raises InputError.
    """
    theirs = Candidate.load(champion, window, params) if champion else None
    try:
        ours = Candidate.load(challenger, window, params)
    except (InputError, ValueError, OSError, KeyError) as error:
        return GateRecord(verdict="reject", reason=f"cannot be loaded: {error}"), None
    metric, k, sessions = params.evaluation.metric, params.evaluation.k, ours.prefixes.sessions
    values = per_prediction(ours.ranks, k)[metric]
    ranks = {"champion": theirs.ranks} if theirs else baseline_ranks(window, ours)
    rivals = {name: per_prediction(rank, k)[metric] for name, rank in ranks.items()}
    rival = max(rivals, key=lambda name: rivals[name].mean()) if len(values) else next(iter(rivals))
    comparison = compare(values, rivals[rival], sessions, params.gate.alpha / params.gate.looks)
    measured = guards(ours, theirs, window, params)
    if theirs:
        measured.append(gain_is_plausible(comparison, params.gate))
    if promised is not None:
        measured.append(window_is_representative(comparison, promised, params.gate))
    fresher = bool(theirs and ours.knows_until - theirs.knows_until >= pd.Timedelta(hours=params.gate.fresher_hours))
    n_sessions = len(np.unique(sessions))
    verdict, reason = decide(comparison, measured, params.gate, fresher, n_sessions, look)
    record = GateRecord(
        verdict=verdict,
        reason=reason,
        metric=ComparedMetric.model_validate({"name": metric, **asdict(comparison)}),
        rival=rival,
        fresher=fresher,
        guards=[{**asdict(guard), "status": guard.status} for guard in measured],
        window={
            "from": window.opens.isoformat(),
            "until": window.test["timestamp"].max().isoformat(),
            "sessions": n_sessions,
            "predictions": len(values),
        },
    )
    both = pd.DataFrame({"session": sessions, "challenger": ours.ranks, "champion": ranks[rival]})
    return record, pd.concat([both, labels_of(ours)], axis=1)


def decide(
    comparison: Comparison, measured: list[Guard], limits: Gate, fresher: bool, sessions: int, look: int
) -> tuple[Verdict, str]:
    """Failed guards reject and missing ones hold, before the metric counts."""
    if failed := [guard for guard in measured if guard.status == "fail"]:
        return "reject", "; ".join(
            f"{guard.name}: {guard.value:.4g} > {guard.limit:.4g} ({guard.detail})" for guard in failed
        )
    if missing := [guard for guard in measured if guard.status == "missing"]:
        return "hold", "; ".join(f"{guard.name} is missing ({guard.detail})" for guard in missing)
    if sessions < limits.sessions:
        return "hold", f"{sessions} sessions in the window; gate.sessions asks for {limits.sessions}"
    if look > limits.looks:
        return "hold", f"judged {look - 1} times before; gate.looks allows {limits.looks}"
    return conclude(comparison, limits, fresher)


def conclude(comparison: Comparison, limits: Gate, fresher: bool) -> tuple[Verdict, str]:
    """The verdict of the deciding metric, and the reason. fresher: whether the challenger knows much newer data, so
    that being no worse justifies a change; of two that know equally new data only a better one is promoted."""
    low, high = comparison.low, comparison.high
    if not np.isfinite(comparison.difference):
        return "hold", "the deciding metric is missing"
    if np.isnan([low, high]).any():
        return "hold", f"they differ on {comparison.differing} sessions; a comparison needs {MIN_DIFFERING}"
    if high < 0:
        return "reject", f"worse beyond chance: at most {high:+.2%}"
    if low > 0:
        return "promote", f"better beyond chance: at least {low:+.2%}"
    if fresher and low > -limits.margin:
        return "promote", f"knows newer data and is no worse: at least {low:+.2%}, the margin is {-limits.margin:.2%}"
    return "hold", f"not shown to be better, nor worse: {low:+.2%} to {high:+.2%}"


def gate(root: Path, params: Params, challenger: Path, champion: Path | None, name: str) -> GateRecord:
    """Evaluate a challenger, write the record and the notebook; of inputs that were evaluated before, the record.

    The record is reports/decisions/gate-CHALLENGER-CHAMPION-INPUTS.json, the notebook lies beside it.
    """
    bundles = (bundle_name(challenger), bundle_name(champion) if champion else None)
    inputs = {part: sha256_of(root / f"data/split/{part}.parquet") for part in ("train", "test")}
    inputs |= {part: getattr(params, part).model_dump_json() for part in ("gate", "evaluation", "features")}
    key = f"{bundles[0]}-{bundles[1] or 'baselines'}-{_short(inputs)}"
    earlier = read_records(root, GateRecord, "gate")
    if existing := next((record for record in earlier if record.key == key), None):
        return existing
    # other params on the same window are a look, too: else asking again until it promotes would cost nothing
    look = 1 + sum((record.challenger, record.champion) == bundles for record in earlier)
    promised = promised_by_gate(root, bundles[1], params.evaluation.metric)
    verdict, predictions = evaluate(challenger, champion, Window.read(root), params, look, promised)
    about = {"key": key, "recommender": name, "challenger": bundles[0], "champion": bundles[1], "inputs": inputs}
    record = GateRecord.model_validate({**about, "look": look, **verdict.to_dict()})
    if predictions is not None:
        folder = root / DRAWN
        folder.mkdir(parents=True, exist_ok=True)
        predictions.to_parquet(folder / "predictions.parquet", index=False)
        (folder / "record.json").write_text(json.dumps(record.to_dict(), indent=1))
        drawn = run_notebook(NOTEBOOK, root)
        beside = root / RECORDS / f"gate-{key}.ipynb"
        beside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(drawn, beside)
    return write_record(root, "gate", record, key)


def bundle_name(folder: Path) -> str:
    """The bundle's version if every file is the one that the manifest names, since otherwise nobody would know what was
    evaluated. Of an incomplete or changed bundle the folder's name, with a hash of its files."""
    try:
        return str(load_bundle(folder)[1]["version"])
    except (InputError, ValueError, OSError, KeyError):
        hashes = {path.name: sha256_of(path) for path in folder.iterdir() if path.is_file()}
        return f"{folder.name}-{_short(hashes)}"


def _short(inputs: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:8]
