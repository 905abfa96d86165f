"""The one function that makes the ranker's features: for training, evaluation and serving alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit, prange

from nextclick.events.prefixes import Prefixes
from nextclick.events.sessions import SessionLog
from nextclick.retrieval.candidates import COLUMNS, Candidates, known_clicks
from nextclick.retrieval.encoder import Encoder

RECENT_SHARE = 0.05  # of the sessions: what counts as popular lately
OWN_FEATURES = (
    "fusion",
    "item_clicks",  # log(1 + clicks on the candidate in the index)
    "item_clicks_lately",  # the same over the newest sessions
    "item_trend",  # share of its clicks that are recent
    "item_last_seen",  # place of its last click in the index, 0 oldest, 1 newest
    "item_weight",  # how much the encoder lets it speak for a session
    "times_in_session",
    "clicks_since_in_session",  # -1: not in the session
    "session_clicks",
    "session_items",
    "last_item_clicks",
    "next_last_rate",  # share of the last item's clicks that this candidate followed
    "cosine_last",
    "cosine_second_last",  # -1: the session is shorter
    "cosine_third_last",
)
NAMES = (
    *(f"{name}_score" for name in COLUMNS),
    *(f"{name}_share" for name in COLUMNS),  # of the best score among the candidates
    *(f"{name}_rank" for name in COLUMNS),
    *OWN_FEATURES,
)


@dataclass(frozen=True)
class ItemStatistics:
    """What is known of each item at the moment that the log ends; each (n_items,) float32, see OWN_FEATURES."""

    clicks: np.ndarray
    clicks_lately: np.ndarray
    last_seen: np.ndarray

    @classmethod
    def of(cls, log: SessionLog) -> ItemStatistics:
        n_items = len(log.vocabulary)
        known = log.items >= 0
        recent = log.slice(int(log.n_sessions * (1 - RECENT_SHARE)), log.n_sessions).items
        last_seen = np.zeros(n_items, np.float32)
        last_seen[log.items[known]] = (np.flatnonzero(known) / max(1, log.n_events)).astype(np.float32)
        return cls(
            np.bincount(log.items[known], minlength=n_items).astype(np.float32),
            np.bincount(recent[recent >= 0], minlength=n_items).astype(np.float32),
            last_seen,
        )


def candidate_features(
    prefixes: Prefixes, candidates: Candidates, statistics: ItemStatistics, encoder: Encoder
) -> np.ndarray:
    """(n, width, len(NAMES)) float32; rows behind the last candidate are zero."""
    own = _own_features(
        prefixes.log.items,
        prefixes.starts,
        prefixes.ends,
        candidates.items,
        candidates.scores,
        candidates.fusion,
        statistics.clicks,
        statistics.clicks_lately,
        statistics.last_seen,
        encoder.item_weight,
        encoder.vectors,
    )
    best = np.maximum(candidates.scores.max(axis=1, keepdims=True), np.float32(1e-6))
    return np.concatenate([candidates.scores, candidates.scores / best, candidates.ranks, own], axis=2)


@njit(cache=True)
def _cosine(vectors, a, b):
    total = np.float32(0)
    for k in range(vectors.shape[1]):
        total += vectors[a, k] * vectors[b, k]
    return total


@njit(cache=True, parallel=True)
def _own_features(
    log_items,
    starts,
    ends,
    candidates,
    scores,
    fusion,
    item_clicks,
    item_clicks_lately,
    item_last_seen,
    item_weight,
    vectors,
):
    n, width = candidates.shape
    features = np.zeros((n, width, len(OWN_FEATURES)), np.float32)
    for i in prange(n):
        clicks = known_clicks(log_items, starts[i], ends[i])
        known = len(clicks)
        for c in range(width):
            item = candidates[i, c]
            if item < 0:
                break
            row = features[i, c]
            row[0] = fusion[i, c]
            row[1] = np.log1p(item_clicks[item])
            row[2] = np.log1p(item_clicks_lately[item])
            row[3] = (item_clicks_lately[item] + 1) / (item_clicks[item] + 10)
            row[4] = item_last_seen[item]
            row[5] = item_weight[item]
            row[7] = -1
            for a in range(known):
                if clicks[a] == item:
                    row[6] += 1
                    row[7] = known - 1 - a
            row[8] = known
            row[9] = len(np.unique(clicks))
            row[12:15] = -1
            if known:
                last_clicks = item_clicks[clicks[known - 1]]
                row[10] = np.log1p(last_clicks)
                row[11] = scores[i, c, 6] / (last_clicks + 1)
            for back in range(min(3, known)):
                row[12 + back] = _cosine(vectors, clicks[known - 1 - back], item)
    return features
