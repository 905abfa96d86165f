"""How far a window's columns are from the reference, as an effect size, and how far chance alone takes them.

The distance is that of Jensen and Shannon (Lin, 1991; base 2, so 0 to 1) over bins that the reference sets: tenths of
its values, or one bin a value where there are few, and one for what is null. It does not grow with the sample, as the
verdict of a p-value does. What chance alone gives is measured by resampling whole sessions of the reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial.distance import jensenshannon

from nextclick.result import Result

BINS, MAX_VALUES = 10, 20  # columns of at most MAX_VALUES distinct values are compared value by value
SAMPLE = 100_000  # rows of a window that are binned, evenly spaced; more change no distance by 0.01
RESAMPLES = 2000  # of which chance in one of a hundred windows leaves some twenty
RESAMPLES_AT_ONCE = 200
MIN_SESSIONS_A_DAY = 50  # of a day that is shown by itself


@dataclass(frozen=True)
class Column:
    """The bins of a column. edges: (b - 1,) inner edges. values: (b,) sorted, in place of edges if there are few.
    shares: (b + 2,) of the reference by bin; the last two are those of unknown values and of nulls."""

    name: str
    edges: np.ndarray
    values: np.ndarray | None
    shares: np.ndarray

    @classmethod
    def of(cls, series: pd.Series) -> Column:
        given = series.dropna()
        distinct = np.unique(given.to_numpy())
        if not pd.api.types.is_numeric_dtype(series) or len(distinct) <= MAX_VALUES:
            edges, values = np.empty(0), distinct
        else:
            inner = np.linspace(0, 1, BINS + 1)[1:-1]
            edges, values = np.unique(np.quantile(given.to_numpy(np.float64), inner)), None
        column = cls(str(series.name), edges, values, np.empty(0))
        return cls(column.name, edges, values, shares_of(column.bins(series), column.width))

    @property
    def width(self) -> int:
        return (len(self.values) if self.values is not None else len(self.edges) + 1) + 2

    def bins(self, series: pd.Series) -> np.ndarray:
        """(n,) int64: the bin of each value."""
        null = series.isna().to_numpy()
        if self.values is not None:
            bins = pd.Index(self.values).get_indexer(pd.Index(series))
            bins = np.where(bins < 0, self.width - 2, bins)
        else:
            numeric = pd.to_numeric(series, errors="coerce")
            bins = np.searchsorted(self.edges, numeric.to_numpy(np.float64), side="right")
            bins = np.where(numeric.isna().to_numpy() & ~null, self.width - 2, bins)
        return np.where(null, self.width - 1, bins)


def shares_of(bins: np.ndarray, width: int) -> np.ndarray:
    """(width,) the share of the values in each bin. bins: (n,)."""
    counts = np.bincount(bins, minlength=width)
    return counts / max(1, counts.sum())


def distance(shares: np.ndarray, others: np.ndarray) -> float:
    """The Jensen-Shannon distance of two distributions: 0 if they are equal, 1 if they have nothing in common."""
    return float(np.nan_to_num(jensenshannon(shares, others, base=2)))


def thresholds(
    frame: pd.DataFrame, columns: list[Column], sessions: np.ndarray, n_sessions: int, windows: float, seed: int
) -> dict[str, float]:
    """The distance of each column that chance alone exceeds, in any of the columns, once in `windows` windows, on
    average over references: one that happens to be odd gives more false alarms, and the others fewer.

    frame: n rows of the reference. sessions: (n,) of each row. n_sessions: of a window. Each resample draws a window
    and a reference, since the reference is a sample, too. Distances are divided by their column's median over the
    resamples, and the limit is a quantile of the largest of the columns: so many columns give no more false alarms
    than one.
    """
    code, unique = pd.factorize(sessions)
    n = len(unique)
    tables = []
    for column in columns:
        table = np.zeros((n, column.width), np.float32)
        np.add.at(table, (code, column.bins(frame[column.name])), 1)
        tables.append(table)
    random = np.random.default_rng(seed)
    distances = np.empty((RESAMPLES, len(columns)))
    for some in np.array_split(np.arange(RESAMPLES), -(-RESAMPLES // RESAMPLES_AT_ONCE)):
        window, reference = (_drawn(random, n, size, len(some)) for size in (n_sessions, n))
        for j, table in enumerate(tables):
            distances[some, j] = distance_by_row(window @ table, reference @ table)
    usual = np.maximum(np.median(distances, axis=0), 1e-6)
    worst = np.quantile((distances / usual).max(axis=1), 1 - 1 / max(windows, 1.0))
    return {column.name: float(worst * unit) for column, unit in zip(columns, usual, strict=True)}


def _drawn(random: np.random.Generator, n: int, size: int, times: int) -> np.ndarray:
    """(times, n) how often each of n sessions is drawn if `size` are, with replacement."""
    cells = random.integers(0, n, (times, size)) + np.arange(times)[:, None] * n
    return np.bincount(cells.ravel(), minlength=times * n).reshape(times, n).astype(np.float32)


def distance_by_row(counts: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) the `distance` between the shares of each row and of the same row of others. counts, others: (n, width)."""
    with np.errstate(invalid="ignore"):  # of equal rows, whose divergence may be rounded to below zero
        return np.asarray(np.nan_to_num(jensenshannon(counts, others, base=2, axis=1)))


class ColumnDrift(Result):
    """A row of `column_drift`."""

    column: str
    distance: float  # from the reference; NaN if the column is missing or the window has no rows
    limit: float
    drifted: bool
    nulls: float  # share of the values
    nulls_before: float  # in the reference
    unknown: float  # share of the values that the reference does not have


def column_drift(
    columns: list[Column], limits: dict[str, float], current: pd.DataFrame, effect: float
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """A row a column with the fields of `ColumnDrift`; and the names of columns that are missing, all null or new.

    limits: see `thresholds`. A column has drifted if its distance exceeds both its limit and `effect`; without a
    distance it has not."""
    step = max(1, -(-len(current) // SAMPLE))
    sample = current.iloc[::step]
    rows = []
    reported: dict[str, list[str]] = {"missing": [], "all null": [], "new": []}
    for column in columns:
        row = {"column": column.name, "limit": max(limits[column.name], effect), "nulls_before": column.shares[-1]}
        if column.name not in current:
            reported["missing"].append(column.name)
        elif len(sample):
            shares = shares_of(column.bins(sample[column.name]), column.width)
            gap = distance(column.shares, shares)
            row |= {"distance": gap, "drifted": gap > row["limit"], "nulls": shares[-1], "unknown": shares[-2]}
            if shares[-1] == 1 and column.shares[-1] < 1:
                reported["all null"].append(column.name)
        rows.append(row)
    reported["new"] = [str(name) for name in current.columns if name not in {column.name for column in columns}]
    table = pd.DataFrame(rows).reindex(columns=list(ColumnDrift.model_fields))
    return table.assign(drifted=table["drifted"].eq(True)), reported


def by_day(columns: list[Column], served: pd.DataFrame) -> pd.DataFrame:
    """A row a column, a column a day (UTC): the distance of that day from the reference. Days of fewer than
    MIN_SESSIONS_A_DAY sessions are left out, as chance alone takes these far away.

    served: see `Replay.served`.
    """
    days = pd.to_datetime(served["moment"], unit="ms", utc=True).dt.strftime("%Y-%m-%d")
    sessions = served["session"].groupby(days).nunique()
    days = days[days.isin(sessions[sessions >= MIN_SESSIONS_A_DAY].index)]
    names, day_of = np.unique(days.to_numpy(str), return_inverse=True)
    current, distances = served.loc[days.index], {}
    for column in columns:
        if column.name in current:
            cells = day_of * column.width + column.bins(current[column.name])
            counts = np.bincount(cells, minlength=len(names) * column.width).reshape(len(names), column.width)
            distances[column.name] = [distance(column.shares, day / day.sum()) for day in counts]
    return pd.DataFrame.from_dict(distances, "index", columns=names.tolist())
