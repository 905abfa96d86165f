"""From a request to an answer, without HTTP: session state, candidates, features, scores, the list and its reasons."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nextclick.events.prefixes import Prefixes
from nextclick.events.session_state import EMPTY, SessionState, advance_all, prefixes_of
from nextclick.features.store.online import StoredState
from nextclick.serving.deployment import Deployment
from nextclick.serving.loaded_bundle import Model
from nextclick.serving.metrics import FALLBACKS, STAGE, STALE, STATE_AGE
from nextclick.serving.prediction_writer import Prediction, PredictionLog
from nextclick.serving.reasons import POPULAR, Reason, reasons
from nextclick.serving.session_reader import States
from nextclick.serving.shadow import Shadow
from nextclick.serving.shop import Filters

NO_FILTERS = Filters()
HOUR = 3_600_000  # ms
SMOOTHING = 0.05  # weight of the newest in the usual time of an answer
FADING = 0.01  # by which it falls with each answer that it keeps from being ranked
MOST_BUDGETS = 2  # as which a ranking counts that took longer: a pause of the machine says nothing of the next
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Query:
    """clicks: those that the request itself brings, which may not have reached the store. k: items wanted. model: the
    one that answers, whose numbers of items the filters use."""

    request_id: str
    session_id: str
    k: int
    model: Model
    clicks: SessionState = ()
    filters: Filters = NO_FILTERS


@dataclass(frozen=True)
class Answer:
    """items: numbers of the model's shop, best first, with a score (NaN for one that only fills up) and a reason each.

    state_age: ms from the newest click known to now, None where none is. statistics_age: ms from the moment of the
    item statistics to now, None where they have none. stale: the feature views whose values are older than may be.
    degraded: why it is less than it could be. milliseconds: by stage.
    """

    query: Query
    items: list[int]
    scores: list[float]
    reasons: list[Reason]
    clicks: int
    state_age: int | None
    statistics_age: int | None
    stale: list[str]
    degraded: str | None
    milliseconds: dict[str, float]


class Ranked(NamedTuple):
    """A session's candidates, as in `Candidates`, with features (width, n_features), scores (width,) and the places of
    the candidates by score, best first, (width,)."""

    items: np.ndarray
    ranks: np.ndarray
    features: np.ndarray
    scores: np.ndarray
    order: np.ndarray


class Engine:
    """Answers. Not for several threads at once."""

    def __init__(
        self,
        deployment: Deployment,
        states: States,
        predictions: PredictionLog,
        budget_ms: float,
        max_staleness_hours: float,
        shadow: Shadow | None = None,
    ) -> None:
        self.deployment = deployment
        self.states = states
        self._predictions = predictions
        self._shadow = shadow
        self._budget = budget_ms / 1e3
        self._max_staleness = max_staleness_hours * HOUR
        self.usual_seconds = 0.001  # that ranking one session takes

    def recommend(self, queries: Sequence[Query], now: int, began: float) -> list[Answer]:
        """now: ms since 1970 UTC. began: when the requests came, by `time.perf_counter`. Never raises: what goes wrong
        costs quality, and the answer says so."""
        asked = time.perf_counter()
        known, fresh = self.states.read([query.session_id for query in queries], now)
        read = time.perf_counter()
        answers = None
        # a batch is a job of its own, not one visitor's wait
        in_time = len(queries) > 1 or self._time_to_rank(read - began)
        if in_time:
            try:
                answers = self.rank(queries, known, fresh, now)
            except Exception:  # a bug must not cost the visitor his list; it is logged and counted
                log.exception("ranking failed")
        if answers is None:
            reason = "error" if in_time else "budget"
            answers = [self._popular(query, reason, now) for query in queries]
        elif self._shadow and (other := self.deployment.now.shadow):
            for query, stored in zip(queries, known, strict=True):
                self._shadow.put(other, query, stored, now)
        self._account(answers, read - asked, time.perf_counter() - began)
        return answers

    def _time_to_rank(self, waited: float) -> bool:
        """Whether the budget is enough, `waited` seconds after the request came."""
        fits = waited + self.usual_seconds < self._budget
        if not fits and waited < self._budget:
            self.usual_seconds *= 1 - FADING  # else nothing would be ranked again, and it never be seen to be quicker
        return fits

    def rank(self, queries: Sequence[Query], known: list[StoredState], fresh: bool, now: int) -> list[Answer]:
        """Answers, each by the model of its query, and logged. fresh: whether what is known comes from the store."""
        ranked: dict[int, Answer] = {}
        for model in {id(query.model): query.model for query in queries}.values():
            places = [place for place, query in enumerate(queries) if query.model is model]
            its = self._rank_by(
                model, [queries[place] for place in places], [known[place] for place in places], fresh, now
            )
            ranked.update(zip(places, its, strict=True))
        return [ranked[place] for place in range(len(queries))]

    def _rank_by(
        self, model: Model, queries: Sequence[Query], known: list[StoredState], fresh: bool, now: int
    ) -> list[Answer]:
        snapshot = model.recommender.snapshot
        states = [advance_all(stored.state, query.clicks) for stored, query in zip(known, queries, strict=True)]
        started = time.perf_counter()
        prefixes = prefixes_of(states, snapshot.vocabulary)
        candidates = snapshot.retriever.retrieve(prefixes)
        retrieved = time.perf_counter()
        features = snapshot.features_of(prefixes, candidates)
        described = time.perf_counter()
        scores = model.recommender.scores_of(candidates, features)
        order = np.argsort(-scores, axis=1, kind="stable")
        scored = time.perf_counter()
        spent = {
            "retrieval": (retrieved - started) * 1e3,
            "features": (described - retrieved) * 1e3,
            "ranker": (scored - described) * 1e3,
        }
        took = min((scored - started) / len(queries), MOST_BUDGETS * self._budget)
        self.usual_seconds += SMOOTHING * (took - self.usual_seconds)
        return [
            self._list(query, now, state, prefixes.take(slice(i, i + 1)), Ranked(*row), spent, fresh)
            for i, (query, state, *row) in enumerate(
                zip(queries, states, candidates.items, candidates.ranks, features, scores, order, strict=True)
            )
        ]

    def _list(
        self,
        query: Query,
        now: int,
        state: SessionState,
        prefix: Prefixes,
        ranked: Ranked,
        spent: dict[str, float],
        fresh: bool,
    ) -> Answer:
        model = query.model
        places = ranked.order[: np.count_nonzero(ranked.items >= 0)]
        if query.filters.any:
            places = places[model.shop.allowed(query.filters)[ranked.items[places]]]
        places = places[: query.k]
        items = ranked.items[places]
        clicked = prefix.log.items[prefix.starts[0] : prefix.ends[0]]
        vectors = model.recommender.snapshot.knowledge.encoder.vectors
        why = reasons(items, ranked.ranks[places], clicked[clicked >= 0], vectors)
        more = self._fillers(query, items)
        answer = Answer(
            query,
            items.tolist() + more,
            ranked.scores[places].tolist() + [np.nan] * len(more),
            why + [POPULAR] * len(more),
            len(state),
            *self._ages(query.model, state, now),
            None if fresh else "store",
            spent,
        )
        self._log(answer, now, state, ranked.items, ranked.scores, ranked.features[places])
        return answer

    def _popular(self, query: Query, degraded: str, now: int) -> Answer:
        items = self._fillers(query, np.empty(0, np.int32))
        answer = Answer(
            query,
            items,
            [np.nan] * len(items),
            [POPULAR] * len(items),
            0,
            *self._ages(query.model, EMPTY, now),
            degraded,
            {},
        )
        self._log(answer, now, EMPTY, np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.float32))
        return answer

    def _ages(self, model: Model, state: SessionState, now: int) -> tuple[int | None, int | None, list[str]]:
        """state_age, statistics_age and stale of an answer."""
        moments = {"session_state": state[-1].timestamp if state else None, "item_statistics": model.statistics_at}
        ages = {view: None if moment is None else max(0, now - moment) for view, moment in moments.items()}
        stale = [view for view, age in ages.items() if age is not None and age > self._max_staleness]
        return ages["session_state"], ages["item_statistics"], stale

    def _log(
        self,
        answer: Answer,
        now: int,
        state: SessionState,
        candidates: np.ndarray,
        scores: np.ndarray,
        features: np.ndarray,
    ) -> None:
        query = answer.query
        self._predictions.put(
            Prediction(
                query.request_id,
                query.session_id,
                now,
                query.model,
                answer.degraded,
                answer.stale,
                state,
                candidates,
                scores,
                answer.items,
                features,
                answer.milliseconds,
            )
        )

    @staticmethod
    def _fillers(query: Query, listed: np.ndarray) -> list[int]:
        """The most popular items that may be shown and are not yet, as many as the list lacks."""
        lacking = query.k - len(listed)
        if not lacking:
            return []
        shop = query.model.shop
        allowed = shop.allowed(query.filters)
        allowed[listed] = False
        popular = shop.popular
        return popular[allowed[popular]][:lacking].tolist()

    @staticmethod
    def _account(answers: list[Answer], store_seconds: float, total_seconds: float) -> None:
        STAGE["store"].observe(store_seconds)
        STAGE["total"].observe(total_seconds)
        # those of one model share theirs
        for spent in {id(answer.milliseconds): answer.milliseconds for answer in answers}.values():
            for stage, milliseconds in spent.items():
                STAGE[stage].observe(milliseconds / 1e3)
            spent.update(store=store_seconds * 1e3, total=total_seconds * 1e3)
        for answer in answers:
            if answer.degraded:
                FALLBACKS.labels(answer.degraded).inc()
            for view in answer.stale:
                STALE.labels(view).inc()
            if answer.state_age is not None:
                STATE_AGE.observe(answer.state_age / 1e3)
