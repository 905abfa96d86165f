"""What a worker of the service runs with, from its start to its end, and how it answers queries."""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from numba import set_num_threads

from nextclick.features.store.connect import apply_definitions, check_store_setting, connect
from nextclick.features.store.online import OnlineStates, StoredState
from nextclick.logs.prediction_log import PREDICTIONS, SHADOW
from nextclick.params import Params
from nextclick.serving.admission import AdmissionQueue
from nextclick.serving.deployment import Deployment
from nextclick.serving.event_queue import EventQueue
from nextclick.serving.observability import FALLBACKS, STAGE, STALE, STATE_AGE
from nextclick.serving.prediction_writer import PredictionWriter
from nextclick.serving.query import Answer, Query
from nextclick.serving.recommend import popular, recommend
from nextclick.serving.session_reader import SessionReader
from nextclick.serving.shadow import Shadow
from nextclick.settings import ServiceSettings
from nextclick.stream.intake import Intake, open_intake
from nextclick.units import MS_PER_HOUR

STORE_SHARE = 0.25  # of the budget, that a read of the store may usually take
SMOOTHING = 0.05  # weight of the newest in the usual time of a ranking
FADING = 0.01  # by which that time falls with each answer that it keeps from being ranked
MAX_BUDGETS = 2  # as which a longer ranking counts: a pause of the machine says nothing of the next one
SWITCH_SECONDS = 0.0005  # how long another thread may hold the interpreter while a request waits for it
# young objects of a request die young; so little is left after the freeze that a full collection may be rare
COLLECT_AFTER = (20_000, 20, 100)
log = logging.getLogger(__name__)


class RankingBudget:
    """seconds: from a request's arrival to its answer. Rankings fit into it by the time that they usually take."""

    def __init__(self, milliseconds: float) -> None:
        self.seconds = milliseconds / 1e3
        self._usual_seconds = 0.001

    def fits(self, waited: float) -> bool:
        """Whether the ranking of a request that came `waited` seconds ago is likely to end in time."""
        fits = waited + self._usual_seconds < self.seconds
        if not fits and waited < self.seconds:
            self._usual_seconds *= 1 - FADING  # else nothing would be ranked, and a faster ranking never be noticed
        return fits

    def observe(self, seconds: float) -> None:
        """Take account of how long the ranking of one session took."""
        took = min(seconds, MAX_BUDGETS * self.seconds)
        self._usual_seconds += SMOOTHING * (took - self._usual_seconds)


class RecommendationEngine:
    """Answers queries within the budget; counts, logs and shadows the answers. Not for several threads at once."""

    def __init__(
        self,
        deployment: Deployment,
        sessions: SessionReader,
        predictions: PredictionWriter,
        *,
        budget_ms: float,
        max_staleness_ms: float,
        shadow: Shadow | None = None,
    ) -> None:
        self.deployment = deployment
        self.sessions = sessions
        self.budget = RankingBudget(budget_ms)
        self._predictions = predictions
        self._shadow = shadow
        self._max_staleness_ms = max_staleness_ms

    def recommend(self, queries: Sequence[Query], at_ms: int, began: float) -> list[Answer]:
        """Never raises. Failures degrade the answers; `degraded` gives the reason.

        at_ms: now, ms since 1970 UTC. began: when the requests came, by `time.perf_counter`.
        """
        asked = time.perf_counter()
        sessions, stored = self.sessions.read([query.session_id for query in queries], at_ms)
        read = time.perf_counter()
        answers = None
        # a batch is a job of its own, not one visitor's wait
        in_time = len(queries) > 1 or self.budget.fits(read - began)
        if in_time:
            try:
                answers = self._ranked(queries, sessions, at_ms, stored)
            except Exception:  # a bug must not leave the visitor without recommendations; it is logged and counted
                log.exception("ranking failed")
        if answers is None:
            reason = "error" if in_time else "budget"
            answers = [popular(query, at_ms, self._max_staleness_ms, reason) for query in queries]
        elif self._shadow and (bundle := self.deployment.now.shadow):
            for query, session in zip(queries, sessions, strict=True):
                self._shadow.put(bundle, query, session, at_ms)
        self._measure(answers, read - asked, time.perf_counter() - began)
        for answer in answers:
            self._predictions.put(answer)
        return answers

    def _ranked(self, queries: Sequence[Query], sessions: list[StoredState], at_ms: int, stored: bool) -> list[Answer]:
        """The answers in the order of the queries; those of one bundle are computed together, if their sessions come
        from the store."""
        answers: dict[int, Answer] = {}
        alike: dict[tuple[int, bool], list[int]] = defaultdict(list)
        for i, (query, session) in enumerate(zip(queries, sessions, strict=True)):
            alike[id(query.bundle), stored and not session.unreadable].append(i)
        for (_, known), chosen in alike.items():
            together = recommend(
                [queries[i] for i in chosen],
                [sessions[i] for i in chosen],
                at_ms,
                self._max_staleness_ms,
                None if known else "store",
            )
            self.budget.observe(sum(together[0].milliseconds.values()) / 1e3 / len(together))
            answers.update(zip(chosen, together, strict=True))
        return [answers[i] for i in range(len(queries))]

    @staticmethod
    def _measure(answers: list[Answer], store_seconds: float, total_seconds: float) -> None:
        """Count the answers, and add the stages `store` and `total` to their milliseconds."""
        STAGE["store"].observe(store_seconds)
        STAGE["total"].observe(total_seconds)
        # answers that were computed together share theirs
        for stages in {id(answer.milliseconds): answer.milliseconds for answer in answers}.values():
            for stage, milliseconds in stages.items():
                STAGE[stage].observe(milliseconds / 1e3)
            stages.update(store=store_seconds * 1e3, total=total_seconds * 1e3)
        for answer in answers:
            if answer.degraded:
                FALLBACKS.labels(answer.degraded).inc()
            for view in answer.stale:
                STALE.labels(view).inc()
            if answer.state_age_ms is not None:
                STATE_AGE.observe(answer.state_age_ms / 1e3)


@dataclass
class Runtime:
    """draining: whether the service is about to end, and new requests should go elsewhere."""

    params: Params
    engine: RecommendationEngine
    queue: AdmissionQueue
    intake: Intake
    events: EventQueue
    predictions: PredictionWriter
    shadow: Shadow
    shadow_predictions: PredictionWriter
    api_key: bytes | None
    draining: bool = False

    @classmethod
    def open(cls, root: Path, params: Params) -> Runtime:
        """Ready to answer when it returns. Raises InputError and UnavailableError."""
        set_num_threads(1)  # waking a second thread costs more than one request
        sys.setswitchinterval(SWITCH_SECONDS)
        check_store_setting(params)
        apply_definitions(root, params)
        serving = params.serving
        deployment = Deployment(root, params.features)
        sessions = SessionReader(OnlineStates(connect(root, params)), STORE_SHARE * serving.budget_ms)
        sessions.warm_up()
        shown, unseen = (PredictionWriter(root, serving.log_days, folder) for folder in (PREDICTIONS, SHADOW))
        max_staleness_ms = serving.max_staleness * MS_PER_HOUR
        shadow = Shadow(unseen, max_staleness_ms)
        engine = RecommendationEngine(
            deployment,
            sessions,
            shown,
            budget_ms=serving.budget_ms,
            max_staleness_ms=max_staleness_ms,
            shadow=shadow,
        )
        key, intake = ServiceSettings.read().api_key, open_intake(root, params)
        return cls(
            params=params,
            engine=engine,
            queue=AdmissionQueue(serving.max_wait_ms),
            intake=intake,
            events=EventQueue(intake),
            predictions=shown,
            shadow=shadow,
            shadow_predictions=unseen,
            api_key=key.get_secret_value().encode() if key else None,
        )

    def close(self) -> None:
        self.engine.deployment.close()
        self.engine.sessions.close()
        self.intake.close()
        self.predictions.close()
        self.shadow.close()
        self.shadow_predictions.close()


def freeze_heap() -> None:
    """Exempt from garbage collection what lives as long as the worker: otherwise a full collection would now and then
    stop a request for a tenth of a second."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
