"""The methods that every recommender should beat, after their papers; none leaves an item out.

Hyperparameters: item-kNN's damping and sequential rules' reach are those of Ludewig and Jannach (UMUAI 2018) and its
code, session-rec; V-SKNN's 100 neighbours out of the 1,000 newest likewise; STAN's decays are in the range of its paper
(Garg et al., SIGIR 2019).
"""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
from numba import njit
from scipy import sparse

from nextclick.events.prefixes import Prefixes, known_clicks
from nextclick.events.sessions import SessionLog
from nextclick.retrieval.index import SessionIndex
from nextclick.threads import in_parts
from nextclick.units import MS_PER_DAY


class Baseline(Protocol):
    def fit(self, log: SessionLog) -> Self: ...

    def recommend(self, prefixes: Prefixes, k: int) -> np.ndarray:
        """(n, k) int32: item numbers, best first, -1 behind the last; ties by item number."""
        ...


class Popularity:
    """The most clicked items, for everyone."""

    def fit(self, log: SessionLog) -> Self:
        counts = np.bincount(log.items[log.items >= 0], minlength=len(log.vocabulary))
        self.order_ = np.argsort(-counts, kind="stable").astype(np.int32)
        return self

    def recommend(self, prefixes: Prefixes, k: int) -> np.ndarray:
        lists = np.full((len(prefixes), k), -1, np.int32)
        lists[:, : len(self.order_[:k])] = self.order_[:k]
        return lists


class OwnItems:
    """The session's own items, by count, then the newest first; then the most clicked."""

    def fit(self, log: SessionLog) -> Self:
        self.popularity_ = Popularity().fit(log)
        return self

    def recommend(self, prefixes: Prefixes, k: int) -> np.ndarray:
        lists = np.full((len(prefixes), k), -1, np.int32)
        for i in range(len(prefixes)):
            clicks = prefixes.log.items[prefixes.starts[i] : prefixes.ends[i]]
            clicks = clicks[clicks >= 0][::-1]
            items, newest, counts = np.unique(clicks, return_index=True, return_counts=True)
            own = items[np.lexsort((newest, -counts))]
            others = self.popularity_.order_[: k + len(own)]
            row = np.concatenate([own, others[~np.isin(others, own)]])[:k]
            lists[i, : len(row)] = row
        return lists


class _ByLastItem:
    """Recommends the highest entries in the last known item's row of an item-item matrix."""

    def _keep(self, matrix: sparse.csr_array) -> Self:
        self.matrix_ = matrix
        return self

    def recommend(self, prefixes: Prefixes, k: int) -> np.ndarray:
        lists = np.full((len(prefixes), k), -1, np.int32)
        rows: dict[int, np.ndarray] = {}
        for i in range(len(prefixes)):
            clicks = prefixes.log.items[prefixes.starts[i] : prefixes.ends[i]]
            clicks = clicks[clicks >= 0]
            if not len(clicks):
                continue
            last = int(clicks[-1])
            if last not in rows:
                begin, end = self.matrix_.indptr[last : last + 2]
                items, values = self.matrix_.indices[begin:end], self.matrix_.data[begin:end]
                rows[last] = items[np.lexsort((items, -values))][:k]
            lists[i, : len(rows[last])] = rows[last]
        return lists


class SequentialRules(_ByLastItem):
    """Items that came up to `steps` clicks after the last one, weighted by 1 / distance."""

    def __init__(self, steps: int = 10) -> None:
        self.steps = steps

    def fit(self, log: SessionLog) -> Self:
        index = SessionIndex.of(log)
        n = len(log.vocabulary)
        total = sparse.csr_array((n, n))
        for distance in range(1, self.steps + 1):
            together = index.sessions[:-distance] == index.sessions[distance:]
            pairs = (index.items[:-distance][together], index.items[distance:][together])
            weights = np.full(together.sum(), 1 / distance)
            total = total + sparse.coo_array((weights, pairs), shape=(n, n)).tocsr()
        return self._keep(sparse.csr_array(total))


class ItemKNN(_ByLastItem):
    """Items whose sessions overlap most with those of the last one: damped cosine."""

    def __init__(self, damping: float = 20, balance: float = 0.5) -> None:
        self.damping, self.balance = damping, balance

    def fit(self, log: SessionLog) -> Self:
        index = SessionIndex.of(log)
        n = len(log.vocabulary)
        held = sparse.coo_array(
            (np.ones(len(index.items)), (index.sessions, index.items)), shape=(log.n_sessions, n)
        ).tocsr()
        held.data[:] = 1
        common = sparse.coo_array(held.T @ held)
        support = held.sum(axis=0) + self.damping
        row, column = common.coords
        values = common.data / (support[row] ** self.balance * support[column] ** (1 - self.balance))
        apart = row != column
        return self._keep(sparse.coo_array((values[apart], (row[apart], column[apart])), shape=(n, n)).tocsr())


class _Neighbours:
    """What V-SKNN and STAN share: past sessions, the similar ones vote for their items."""

    neighbours: int
    sample: int
    decays: tuple[float, float, float]

    def fit(self, log: SessionLog) -> Self:
        self.index_ = SessionIndex.of(log)
        self.ends_ = log.ends
        self.idf_ = np.log(log.n_sessions / np.maximum(self.index_.counts, 1))
        return self

    def recommend(self, prefixes: Prefixes, k: int) -> np.ndarray:
        index, log = self.index_, prefixes.log
        asked_at = log.times[np.maximum(prefixes.ends - 1, 0)]
        lists = np.full((len(prefixes), k), -1, np.int32)

        def fill(part: slice) -> None:
            _vote(
                *(log.items, prefixes.starts[part], prefixes.ends[part], asked_at[part]),
                *(index.offsets, index.items, index.sessions, index.posting_offsets, index.posting_events, self.ends_),
                *(self.idf_, self.neighbours, self.sample, *self.decays, k, lists[part]),
            )

        in_parts(fill, len(prefixes))
        return lists


class VSKNN(_Neighbours):
    """Vector session kNN: late clicks count linearly more, an item's vote also by its rarity (Ludewig and Jannach)."""

    decays = (0.0, 0.0, 0.0)

    def __init__(self, neighbours: int = 100, sample: int = 1000) -> None:
        self.neighbours, self.sample = neighbours, sample


class STAN(_Neighbours):
    """Sequence and time aware neighbourhood: exponential decay by position, by age, and by distance to the match.

    position, near: clicks; age: days.
    """

    def __init__(
        self, neighbours: int = 500, sample: int = 1000, position: float = 2.0, age: float = 40.0, near: float = 2.0
    ) -> None:
        self.neighbours, self.sample, self.decays = neighbours, sample, (position, age * MS_PER_DAY, near)


@njit(cache=True, nogil=True)
def _vote(
    log_items,
    starts,
    ends,
    asked_at,
    offsets,
    items,
    sessions,
    posting_offsets,
    posting_events,
    session_ends,
    idf,
    neighbours,
    sample,
    position_decay,
    age_decay,
    near_decay,
    k,
    lists,
):
    """Position decay 0 is V-SKNN: linear weights, vote by 1 / steps back to the newest match, times idf."""
    for i in range(len(ends)):
        clicks = known_clicks(log_items, starts[i], ends[i])
        n = len(clicks)
        weights = np.zeros(n)
        similarity = {np.int64(-1): 0.0}  # the first entry tells the compiler the types
        matched = {np.int64(-1): np.int64(-1)}
        back = {np.int64(-1): np.int64(0)}
        for a in range(n - 1, -1, -1):
            later = False
            for b in range(a + 1, n):
                later = later or clicks[b] == clicks[a]
            if later:
                continue
            weights[a] = np.exp((a - n + 1) / position_decay) if position_decay > 0 else (a + 1) / n
            end = posting_offsets[clicks[a] + 1]
            previous = np.int64(-1)
            for x in range(end - 1, max(posting_offsets[clicks[a]], end - sample) - 1, -1):
                session = np.int64(sessions[posting_events[x]])
                if session == previous:
                    continue
                previous = session
                if session not in similarity:
                    similarity[session] = 0.0
                    matched[session] = posting_events[x]
                    back[session] = np.int64(n - a)
                similarity[session] += weights[a]
        del similarity[np.int64(-1)]
        found = np.empty(len(similarity), np.int64)
        values = np.empty(len(similarity))
        for place, session in enumerate(similarity):
            value = similarity[session] / np.sqrt(offsets[session + 1] - offsets[session])
            if position_decay > 0:
                value *= np.exp(-max(0, asked_at[i] - session_ends[session]) / age_decay)
            found[place], values[place] = session, value
        by_number = np.argsort(-found)  # of equals, the newest session
        order = by_number[np.argsort(-values[by_number], kind="mergesort")][:neighbours]
        scores = {np.int64(-1): 0.0}
        for place in order:
            session = found[place]
            for event in range(offsets[session], offsets[session + 1]):
                item = np.int64(items[event])
                if near_decay > 0:
                    vote = values[place] * np.exp(-abs(event - matched[session]) / near_decay)
                else:
                    vote = values[place] / back[session] * idf[item]
                scores[item] = scores.get(item, 0.0) + vote
        del scores[np.int64(-1)]
        voted = np.empty(len(scores), np.int64)
        for place, item in enumerate(scores):
            voted[place] = item
        voted = np.sort(voted)
        totals = np.empty(len(voted))
        for place in range(len(voted)):
            totals[place] = scores[voted[place]]
        best = voted[np.argsort(-totals, kind="mergesort")][:k]
        lists[i, : len(best)] = best


BASELINES: dict[str, type[Baseline]] = {
    "popularity": Popularity,
    "own items": OwnItems,
    "item-kNN": ItemKNN,
    "sequential rules": SequentialRules,
    "V-SKNN": VSKNN,
    "STAN": STAN,
}
