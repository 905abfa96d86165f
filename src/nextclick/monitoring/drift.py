"""How far a window's columns stand from the reference, as an effect size, and how far is farther than chance.

The distance is that of Jensen and Shannon (Lin, 1991; base 2, so 0 to 1) over bins that the reference sets: tenths of
its values, or one bin a value where there are few, and one for what is null. It does not grow with the sample, as the
verdict of a p-value does. What chance alone gives is found by drawing whole sessions of the reference again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial.distance import jensenshannon

BINS, FEW = 10, 20  # columns of no more distinct values than FEW are compared value by value
SAMPLE = 100_000  # rows of a window that are binned, evenly spaced; more change no distance by 0.01
RESAMPLES = 400


@dataclass(frozen=True)
class Column:
    """The bins of a column. edges: (b - 1,) inner edges, or where there are few values: (b,) sorted. shares: (b +
    2,) of the reference, behind the bins those of what is none of the values, and of nulls."""

    name: str
    edges: np.ndarray
    values: np.ndarray | None
    shares: np.ndarray

    @classmethod
    def of(cls, series: pd.Series) -> Column:
        known = series.dropna()
        distinct = np.unique(known.to_numpy())
        if not pd.api.types.is_numeric_dtype(series) or len(distinct) <= FEW:
            edges, values = np.empty(0), distinct
        else:
            inner = np.linspace(0, 1, BINS + 1)[1:-1]
            edges, values = np.unique(np.quantile(known.to_numpy(np.float64), inner)), None
        column = cls(str(series.name), edges, values, np.empty(0))
        return cls(column.name, edges, values, shares_of(column.places(series), column.width))

    @property
    def width(self) -> int:
        return (len(self.values) if self.values is not None else len(self.edges) + 1) + 2

    def places(self, series: pd.Series) -> np.ndarray:
        """(n,) int64: the bin of each value."""
        null = series.isna().to_numpy()
        if self.values is not None:
            places = pd.Index(self.values).get_indexer(pd.Index(series))
            places = np.where(places < 0, self.width - 2, places)
        else:
            numbers = pd.to_numeric(series, errors="coerce")
            places = np.searchsorted(self.edges, numbers.to_numpy(np.float64), side="right")
            places = np.where(numbers.isna().to_numpy() & ~null, self.width - 2, places)
        return np.where(null, self.width - 1, places)


def shares_of(places: np.ndarray, width: int) -> np.ndarray:
    counts = np.bincount(places, minlength=width)
    return counts / max(1, counts.sum())


def distance(shares: np.ndarray, others: np.ndarray) -> float:
    """0 where they are the same, 1 where nothing is common."""
    return float(np.nan_to_num(jensenshannon(shares, others, base=2)))


def thresholds(
    frame: pd.DataFrame, columns: list[Column], sessions: np.ndarray, n_sessions: int, windows: float, seed: int
) -> dict[str, float]:
    """The distance of each column that chance alone passes, in any of the columns, once in `windows` windows.

    frame: the reference. sessions: (n,) of each row. n_sessions: of a window. Distances are measured in units of their
    column's median over the resamples, the largest of the columns is taken, and of that the quantile: so many columns
    give no more false alarms than one.
    """
    code, unique = pd.factorize(sessions)
    n = len(unique)
    tables = []
    for column in columns:
        table = np.zeros((n, column.width), np.float32)
        np.add.at(table, (code, column.places(frame[column.name])), 1)
        tables.append(table)
    random = np.random.default_rng(seed)
    found = np.empty((RESAMPLES, len(columns)))
    for i in range(RESAMPLES):
        drawn = np.bincount(random.integers(0, n, n_sessions), minlength=n).astype(np.float32)
        for j, (column, table) in enumerate(zip(columns, tables, strict=True)):
            counts = drawn @ table
            found[i, j] = distance(column.shares, counts / max(1.0, counts.sum()))
    usual = np.maximum(np.median(found, axis=0), 1e-6)
    worst = np.quantile((found / usual).max(axis=1), 1 - 1 / max(windows, 1.0))
    return {column.name: float(worst * unit) for column, unit in zip(columns, usual, strict=True)}


def column_drift(
    columns: list[Column], limits: dict[str, float], current: pd.DataFrame, effect: float
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """A row a column: column, distance, limit, drifted (beyond chance and beyond `effect`), nulls (share), nulls_before
    and unknown (share of values that the reference has not). Beside it what is to be said: missing, null (all of it),
    extra columns. A column that is missing, or a window of no rows, has no distance and has not drifted."""
    step = max(1, -(-len(current) // SAMPLE))
    sample = current.iloc[::step]
    rows = []
    said: dict[str, list[str]] = {"missing": [], "all null": [], "new": []}
    for column in columns:
        row = {"column": column.name, "limit": max(limits[column.name], effect), "nulls_before": column.shares[-1]}
        if column.name not in current:
            said["missing"].append(column.name)
        elif len(sample):
            shares = shares_of(column.places(sample[column.name]), column.width)
            gap = distance(column.shares, shares)
            row |= {"distance": gap, "drifted": gap > row["limit"], "nulls": shares[-1], "unknown": shares[-2]}
            if shares[-1] == 1 and column.shares[-1] < 1:
                said["all null"].append(column.name)
        rows.append(row)
    said["new"] = [str(name) for name in current.columns if name not in {column.name for column in columns}]
    order = ["column", "distance", "limit", "drifted", "nulls", "nulls_before", "unknown"]
    table = pd.DataFrame(rows).reindex(columns=order)
    return table.assign(drifted=table["drifted"].eq(True)), said


def by_day(columns: list[Column], current: pd.DataFrame, moments: pd.Series) -> pd.DataFrame:
    """The map: a row a column, a column a day, the distance of that day from the reference."""
    days, of = np.unique(moments.dt.tz_localize(None).dt.floor("D").to_numpy(), return_inverse=True)
    found = {}
    for column in columns:
        if column.name in current:
            cells = of * column.width + column.places(current[column.name])
            counts = np.bincount(cells, minlength=len(days) * column.width).reshape(len(days), column.width)
            found[column.name] = [distance(column.shares, day / day.sum()) for day in counts]
    return pd.DataFrame.from_dict(found, "index", columns=[str(day)[:10] for day in days])
