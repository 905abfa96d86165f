"""The methods that every recommender should beat, after their papers; none leaves an item out.

Hyperparameters: item-kNN's damping and sequential rules' reach are those of Ludewig and Jannach (UMUAI 2018) and its
code, session-rec; V-SKNN's 100 neighbours out of the 1,000 newest likewise; STAN's decays are in the range of its paper
(Garg et al., SIGIR 2019). `benchmark` has it with session-rec's tuned settings too.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, Self

import numpy as np
from numba import njit
from scipy import sparse

from nextclick.events.prefixes import Prefixes, known_clicks
from nextclick.events.sessions import SessionLog
from nextclick.retrieval.index import SessionIndex
from nextclick.retrieval.scores import Neighbours, find_neighbours
from nextclick.threads import in_parts
from nextclick.units import MS_PER_DAY


class Baseline(Protocol):
    def fit(self, log: SessionLog) -> Self: ...

    def recommend(self, prefixes: Prefixes, k: int) -> np.ndarray:
        """(n, k) int32: item indices, best first, -1 behind the last; ties by item index."""
        ...


class Popularity:
    """The most clicked items, for everyone."""

    def fit(self, log: SessionLog) -> Self:
        counts = np.bincount(log.items[log.items >= 0], minlength=len(log.vocabulary))
        self.order_ = np.argsort(-counts, kind="stable").astype(np.int32)
        return self

    def recommend(self, prefixes: Prefixes, k: int) -> np.ndarray:
        recommendations = np.full((len(prefixes), k), -1, np.int32)
        recommendations[:, : len(self.order_[:k])] = self.order_[:k]
        return recommendations


class OwnItems:
    """The session's own items, by count, then the newest first; then the most clicked."""

    def fit(self, log: SessionLog) -> Self:
        self.popularity_ = Popularity().fit(log)
        return self

    def recommend(self, prefixes: Prefixes, k: int) -> np.ndarray:
        recommendations = np.full((len(prefixes), k), -1, np.int32)
        for i in range(len(prefixes)):
            clicks = prefixes.log.items[prefixes.starts[i] : prefixes.ends[i]]
            clicks = clicks[clicks >= 0][::-1]
            items, newest, counts = np.unique(clicks, return_index=True, return_counts=True)
            own = items[np.lexsort((newest, -counts))]
            others = self.popularity_.order_[: k + len(own)]
            row = np.concatenate([own, others[~np.isin(others, own)]])[:k]
            recommendations[i, : len(row)] = row
        return recommendations


class _ByLastItem:
    """Recommends the highest entries in the last known item's row of an item-item matrix."""

    def _fitted(self, matrix: sparse.csr_array) -> Self:
        self.matrix_ = matrix
        return self

    def recommend(self, prefixes: Prefixes, k: int) -> np.ndarray:
        recommendations = np.full((len(prefixes), k), -1, np.int32)
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
            recommendations[i, : len(rows[last])] = rows[last]
        return recommendations


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
        return self._fitted(sparse.csr_array(total))


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
        return self._fitted(sparse.coo_array((values[apart], (row[apart], column[apart])), shape=(n, n)).tocsr())


class _Settings(NamedTuple):
    """How many sessions vote, of the newest `sample` clicks on an item; and how a vote falls: by the position of the
    shared click, the age of the past session, the distance to the match.

    position, near: clicks; age: ms. A position decay of 0 is V-SKNN: linear weights of the clicks, and a vote that is
    divided by the steps back to the newest match and multiplied by the item's rarity.
    """

    neighbours: int
    sample: int
    position: float = 0.0
    age: float = 0.0
    near: float = 0.0


class _Neighbourhood:
    """What V-SKNN and STAN share: past sessions, the similar ones vote for their items."""

    settings: _Settings

    def fit(self, log: SessionLog) -> Self:
        self.index_ = SessionIndex.of(log)
        self.ends_ = log.ends
        self.idf_ = np.log(log.n_sessions / np.maximum(self.index_.counts, 1))
        return self

    def recommend(self, prefixes: Prefixes, k: int) -> np.ndarray:
        recommendations = np.full((len(prefixes), k), -1, np.int32)

        def fill(part: slice) -> None:
            some, past = prefixes.take(part).arrays, Neighbours.over(len(self.ends_), np.float64)
            _vote(some, self.index_, self.ends_, self.idf_, self.settings, past, recommendations[part])

        in_parts(fill, len(prefixes))
        return recommendations


class VSKNN(_Neighbourhood):
    """Vector session kNN: late clicks count linearly more, an item's vote also by its rarity (Ludewig and Jannach)."""

    def __init__(self, neighbours: int = 100, sample: int = 1000) -> None:
        self.settings = _Settings(neighbours, sample)


class STAN(_Neighbourhood):
    """Sequence and time aware neighbourhood: exponential decay by position, by age, and by distance to the match.

    position, near: clicks; age: days.
    """

    def __init__(
        self, neighbours: int = 500, sample: int = 1000, position: float = 2.0, age: float = 40.0, near: float = 2.0
    ) -> None:
        self.settings = _Settings(neighbours, sample, position, age * MS_PER_DAY, near)


@njit(cache=True, nogil=True)
def _vote(prefixes, index, session_ends, idf, settings, neighbours, out):
    """Write the items with the most votes into out, (n, k). session_ends: (n_sessions,) ms. idf: (n_items,)."""
    votes, voted = np.zeros(len(idf)), np.zeros(len(idf), np.bool_)
    for i in range(len(prefixes.ends)):
        clicks = known_clicks(prefixes, i)
        n = len(clicks)
        weights = np.empty(n)
        for a in range(n):
            weights[a] = np.exp((a - n + 1) / settings.position) if settings.position > 0 else (a + 1) / n
        found = neighbours.found[: find_neighbours(clicks, weights, index, settings.sample, neighbours)]
        values = np.empty(len(found))
        for j in range(len(found)):
            session = found[j]
            value = neighbours.similarity[session] / np.sqrt(index.offsets[session + 1] - index.offsets[session])
            if settings.position > 0:
                value *= np.exp(-max(0, prefixes.times[prefixes.ends[i] - 1] - session_ends[session]) / settings.age)
            values[j] = value
            neighbours.similarity[session] = 0
        newest_first = np.argsort(-found)  # of equals, the newest session
        order = newest_first[np.argsort(-values[newest_first], kind="mergesort")][: settings.neighbours]
        for j in order:
            session = found[j]
            match = neighbours.matched[session]
            steps_back = 1
            while clicks[n - steps_back] != index.items[match]:
                steps_back += 1
            for event in range(index.offsets[session], index.offsets[session + 1]):
                item = index.items[event]
                if settings.near > 0:
                    votes[item] += values[j] * np.exp(-abs(event - match) / settings.near)
                else:
                    votes[item] += values[j] / steps_back * idf[item]
                voted[item] = True
        items = np.flatnonzero(voted)
        best = items[np.argsort(-votes[items], kind="mergesort")][: out.shape[1]]
        out[i, : len(best)] = best
        votes[items], voted[items] = 0, False


BASELINES: dict[str, type[Baseline]] = {
    "popularity": Popularity,
    "own items": OwnItems,
    "item-kNN": ItemKNN,
    "sequential rules": SequentialRules,
    "V-SKNN": VSKNN,
    "STAN": STAN,
}
