"""How often the monitor takes a column for drifted that has not moved, and how often it finds one that has."""

from __future__ import annotations

import numpy as np
import pandas as pd
from rate import Rate

from nextclick.monitoring.drift import Column, column_drift, thresholds
from nextclick.params import Monitoring
from nextclick.progress import progress_bar

COLUMNS, ROWS = 25, 2000  # of the reference, as `evaluation.reference` keeps it
WINDOWS = Monitoring().windows_to_false_alarm
SIZES = (200, 500, 2000)  # sessions of a window


def sessions_of(n: int, random: np.random.Generator, shift: float = 0.0) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of n sessions and the session of each: a few are long, the rows of one go together, and columns do in four
    groups; each fifth is of whole numbers. shift: of the column c1, in its standard deviations."""
    lengths = np.minimum(1 + np.floor(random.pareto(1.3, n) * 2).astype(int), 30)
    session = np.repeat(np.arange(n), lengths)
    tastes = random.normal(size=(n, 4))
    frame = {}
    for i in range(COLUMNS):
        value = 0.7 * tastes[session, i % 4] + 0.7 * random.normal(size=len(session)) + (shift if i == 1 else 0)
        frame[f"c{i}"] = value if i % 5 else np.minimum(np.floor(np.exp(value)), 12)
    return pd.DataFrame(frame), session


def reference(random: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    """Whole sessions of some ROWS rows."""
    frame, session = sessions_of(ROWS, random)
    kept = session <= session[ROWS]
    return frame[kept], session[kept]


def drifted(sessions: int, shift: float, effect: float, trials: int, seed: int) -> int:
    """In how many of the trials, each with a reference of its own, a column has drifted; of a shift, c1."""
    random, found = np.random.default_rng(seed), 0
    for _ in progress_bar(range(trials), desc=f"drift {sessions}, {shift:+.1f}", unit="trial"):
        frame, session = reference(random)
        columns = [Column.of(frame[name]) for name in frame]
        limits = thresholds(frame, columns, session, sessions, WINDOWS, int(random.integers(2**31)))
        table, _ = column_drift(columns, limits, sessions_of(sessions, random, shift)[0], effect)
        found += bool(table.set_index("column").loc["c1", "drifted"] if shift else table["drifted"].any())
    return found


def rates(trials: int, seed: int) -> list[Rate]:
    rows, fewer, effect = [], max(10, trials // 4), Monitoring().effect
    for sessions in SIZES:
        for least in (0.0, effect):
            false = drifted(sessions, 0, least, fewer, seed)
            case = f"{COLUMNS} columns, none moved, {sessions:,} sessions, least effect {least:g}"
            rows.append(Rate("drift: a column is false", case, 1 / WINDOWS, false, fewer))
    for shift in (0.15, 0.3, 0.6):
        case = f"by {shift} standard deviations, {SIZES[1]} sessions"
        found = drifted(SIZES[1], shift, effect, max(10, trials // 20), seed)
        rows.append(Rate("drift: a column that moved is found", case, None, found, max(10, trials // 20)))
    return rows
