"""What a request asks of the recommender, and what it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nextclick.events.session_state import SessionState
from nextclick.serving.item_catalogue import Filters
from nextclick.serving.loaded_bundle import LoadedBundle
from nextclick.serving.reasons import Reason

NO_FILTERS = Filters()


@dataclass(frozen=True)
class Query:
    """k: items wanted. bundle: the one that answers, to whose items the filters refer. clicks: those that come with the
    request and may not have reached the store, oldest first."""

    request_id: str
    session_id: str
    k: int
    bundle: LoadedBundle
    clicks: SessionState = ()
    filters: Filters = NO_FILTERS


class Ranking(NamedTuple):
    """What the ranker made of one session; all empty if nothing was ranked.

    candidates: (width,) int32 item indices, -1 behind the last. scores: (width,) float32, -inf behind the last.
    shown: (n_shown,) indices of the shown candidates, best first. features: (n_shown, n_features) float32, of those.
    """

    candidates: np.ndarray
    scores: np.ndarray
    shown: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class Answer:
    """items: item indices of the query's bundle, best first: those of `ranking.shown`, then popular ones that fill up.
    scores, reasons: one for each item; the score of an item that fills up is NaN.

    at_ms: the time of the answer, ms since 1970 UTC. state: the session as it was ranked. state_age_ms: since its
    newest click, None without clicks. statistics_age_ms: since the item statistics, None if they have no time.
    stale: the feature views whose values are older than `serving.max_staleness`. degraded: why the answer is worse than
    it could be. milliseconds: by stage; the answers that are computed together share them.
    """

    query: Query
    at_ms: int
    state: SessionState
    ranking: Ranking
    items: list[int]
    scores: list[float]
    reasons: list[Reason]
    state_age_ms: int | None
    statistics_age_ms: int | None
    stale: list[str]
    degraded: str | None
    milliseconds: dict[str, float]
