"""From queries and the states of their sessions to answers. Nothing here reads a store, logs or counts."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from nextclick.events.session_state import EMPTY, SessionState, advance_all, prefixes_of
from nextclick.features.store.online import StoredState
from nextclick.serving.query import Answer, Query, Ranking
from nextclick.serving.reasons import POPULAR, Reason, reasons

NO_RANKING = Ranking(
    candidates=np.empty(0, np.int32),
    scores=np.empty(0, np.float32),
    shown=np.empty(0, np.int64),
    features=np.empty(0, np.float32),
)


class Stopwatch:
    """milliseconds: how long each stage took that was ended by `lap`."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._started = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.milliseconds[stage] = (now - self._started) * 1e3
        self._started = now


def recommend(
    queries: Sequence[Query],
    sessions: Sequence[StoredState],
    at_ms: int,
    max_staleness_ms: float,
    degraded: str | None = None,
) -> list[Answer]:
    """Answer queries that name the same bundle.

    sessions: what is stored of each query's session. at_ms: now, ms since 1970 UTC. degraded: why the sessions may lack
    clicks, None if they come from the store.
    """
    recommender = queries[0].bundle.recommender
    snapshot = recommender.snapshot
    states = [advance_all(session.state, query.clicks) for session, query in zip(sessions, queries, strict=True)]
    stopwatch = Stopwatch()
    prefixes = prefixes_of(states, snapshot.vocabulary)
    candidates = snapshot.retriever.retrieve(prefixes)
    stopwatch.lap("retrieval")
    features = snapshot.features_of(prefixes, candidates)
    stopwatch.lap("features")
    scores = recommender.scores_of(candidates, features)
    by_score = np.argsort(-scores, axis=1, kind="stable")
    stopwatch.lap("ranker")
    answers = []
    for i, (query, state) in enumerate(zip(queries, states, strict=True)):
        items = candidates.items[i]
        shown = _shown(query, items, by_score[i])
        clicked = prefixes.log.items[prefixes.starts[i] : prefixes.ends[i]]
        why = reasons(
            items[shown], candidates.ranks[i, shown], clicked[clicked >= 0], snapshot.knowledge.encoder.vectors
        )
        ranking = Ranking(candidates=items, scores=scores[i], shown=shown, features=features[i, shown])
        answers.append(_answer(query, state, ranking, why, at_ms, max_staleness_ms, degraded, stopwatch.milliseconds))
    return answers


def popular(query: Query, at_ms: int, max_staleness_ms: float, degraded: str) -> Answer:
    """The answer of last resort: the most popular items that the filters allow, whatever the session did."""
    return _answer(query, EMPTY, NO_RANKING, [], at_ms, max_staleness_ms, degraded, {})


def _shown(query: Query, items: np.ndarray, by_score: np.ndarray) -> np.ndarray:
    """The indices of the best k candidates that the filters allow, best first; by_score: of all candidates."""
    indices = by_score[: np.count_nonzero(items >= 0)]
    if query.filters.any:
        indices = indices[query.bundle.catalogue.allowed(query.filters)[items[indices]]]
    return indices[: query.k]


def _answer(
    query: Query,
    state: SessionState,
    ranking: Ranking,
    why: list[Reason],
    at_ms: int,
    max_staleness_ms: float,
    degraded: str | None,
    milliseconds: dict[str, float],
) -> Answer:
    """The answer of a ranking, with popular items to fill it up. why: the reason of each shown candidate."""
    items = ranking.candidates[ranking.shown]
    fillers = _fillers(query, items)
    times = {"session_state": state[-1].timestamp if state else None, "item_statistics": query.bundle.statistics_at}
    ages = {view: None if then is None else max(0, at_ms - then) for view, then in times.items()}
    return Answer(
        query=query,
        at_ms=at_ms,
        state=state,
        ranking=ranking,
        items=items.tolist() + fillers,
        scores=ranking.scores[ranking.shown].tolist() + [np.nan] * len(fillers),
        reasons=why + [POPULAR] * len(fillers),
        state_age_ms=ages["session_state"],
        statistics_age_ms=ages["item_statistics"],
        stale=[view for view, age in ages.items() if age is not None and age > max_staleness_ms],
        degraded=degraded,
        milliseconds=milliseconds,
    )


def _fillers(query: Query, shown: np.ndarray) -> list[int]:
    """As many of the most popular allowed items that are not shown as lack to the wanted k."""
    lacking = query.k - len(shown)
    if not lacking:
        return []
    catalogue = query.bundle.catalogue
    allowed = catalogue.allowed(query.filters)
    allowed[shown] = False
    return catalogue.popular[allowed[catalogue.popular]][:lacking].tolist()
