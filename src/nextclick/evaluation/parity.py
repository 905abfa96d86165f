"""Is what the service computes what training computed? Every event is played through the online store, one by one, by
the writer and the reader of live clicks, and every feature of every candidate is compared with what the log gives for
the same moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import numpy as np
import pandas as pd
from numba import get_num_threads, set_num_threads

from nextclick.events.prefixes import Prefixes
from nextclick.events.session_state import Click, prefixes_of
from nextclick.events.sessions import SessionLog
from nextclick.features.store.offline import states_of
from nextclick.features.store.online import OnlineStates
from nextclick.progress import progress_bar
from nextclick.ranking.snapshot import Snapshot

CHUNK = 500  # moments compared at a time
SHOWN = 10  # differences that the report names
PLACES = 20  # by how many a shuffled event comes too late


@dataclass
class Parity:
    """What was compared. A cell is one feature of one candidate at one moment, or the candidate itself."""

    moments: int = 0
    cells: int = 0
    differing: int = 0
    rebuilt: int = 0
    first: list[dict] = field(default_factory=list)


def arrivals(events: pd.DataFrame, seed: int, shuffle: float = 0.0, duplicate: float = 0.0) -> pd.DataFrame:
    """Events in the order in which they come: by time, but a share comes up to PLACES later and a share comes twice."""
    random = np.random.default_rng(seed)
    ordered = events.sort_values(["timestamp", "event_id"], ignore_index=True)
    place = np.arange(len(ordered), dtype=float)
    place += np.where(random.random(len(ordered)) < shuffle, random.uniform(0, PLACES, len(ordered)), 0)
    again = np.flatnonzero(random.random(len(ordered)) < duplicate)
    rows = np.concatenate([np.arange(len(ordered)), again])
    places = np.concatenate([place, place[again] + random.uniform(0, PLACES, len(again))])
    return ordered.iloc[rows[np.argsort(places, kind="stable")]].reset_index(drop=True)


def parity(
    snapshot: Snapshot,
    arriving: pd.DataFrame,
    online: OnlineStates,
    event_types: list[str],
    *,
    expire: float = 0.0,
    seed: int = 0,
) -> Parity:
    """Play canonical events in the given order and compare.

    expire: share of the moments at which the stored state is lost, and built again from what arrived before.
    In the store the sessions have names of their own, apart from live ones, and are taken out again at the end.
    """
    found, threads, apart = Parity(), get_num_threads(), f"parity-{uuid4().hex}-"
    forgotten = np.random.default_rng(seed).random(len(arriving)) < expire
    so_far: dict[str, list[int]] = defaultdict(list)
    newest: dict[str, int] = defaultdict(int)  # a request is taken to come with the newest click of its session
    try:
        for first in progress_bar(range(0, len(arriving), CHUNK), desc="parity", unit="chunk"):
            chunk = arriving.iloc[first : first + CHUNK]
            known, live = [], []
            set_num_threads(1)  # as a service does: waking a second thread costs more than one request
            for place, session, click in _clicks(chunk, event_types):
                name = apart + session
                if forgotten[place] and so_far[session]:
                    [(_, state)] = states_of(arriving.iloc[so_far[session]], "session_id", event_types)
                    online.forget([name])
                    online.merge({name: state})
                    found.rebuilt += 1
                online.merge({name: [click]})
                newest[session] = max(newest[session], click.timestamp)
                [read] = online.read([name], now=newest[session])
                live.append(snapshot.features(prefixes_of([read.state], snapshot.vocabulary)))
                so_far[session].append(place)
                known.append(list(so_far[session]))
            set_num_threads(threads)
            offline, features = snapshot.features(_as_logged(arriving, known, event_types, snapshot))
            for i, (candidates, values) in enumerate(live):
                _compare(found, chunk.iloc[i], snapshot, candidates.items[0], values[0], offline.items[i], features[i])
    finally:
        set_num_threads(threads)
        online.forget([apart + session for session in so_far])
    return found


def _clicks(chunk: pd.DataFrame, event_types: list[str]) -> Iterator[tuple[int, str, Click]]:
    times = chunk["timestamp"].to_numpy("datetime64[ms]").astype(np.int64)
    for place, session, event, item, kind, time in zip(
        chunk.index, chunk["session_id"], chunk["event_id"], chunk["item_id"], chunk["event_type"], times, strict=True
    ):
        yield place, session, Click(int(time), event, item, event_types.index(kind))


def _as_logged(arriving: pd.DataFrame, known: list[list[int]], event_types: list[str], snapshot: Snapshot) -> Prefixes:
    """Each moment as a session of a log of its own, made of the rows known then: the way of a batch."""
    rows = np.concatenate([np.array(places) for places in known])
    table = arriving.iloc[rows].assign(
        session_id=np.repeat([f"{i:06d}" for i in range(len(known))], list(map(len, known)))
    )
    table = table.drop_duplicates(["session_id", "event_id"])
    log = SessionLog.from_events(table, event_types, snapshot.vocabulary)
    order = np.argsort(log.session_ids)
    return Prefixes.of(log, order.astype(np.int32), log.offsets[1:][order])


def _compare(
    found: Parity,
    event: pd.Series,
    snapshot: Snapshot,
    live_items: np.ndarray,
    live: np.ndarray,
    offline_items: np.ndarray,
    offline: np.ndarray,
) -> None:
    present = (live_items >= 0) | (offline_items >= 0)
    items = (live_items != offline_items)[present]
    cells = ((live != offline) & ~(np.isnan(live) & np.isnan(offline)))[present]
    found.moments += 1
    found.cells += items.size + cells.size
    found.differing += int(items.sum() + cells.sum())
    about = {"session": event["session_id"], "time": event["timestamp"].isoformat()}
    for place in np.flatnonzero(items)[: SHOWN - len(found.first)]:
        ids = [
            snapshot.vocabulary.ids[item[place]] if item[place] >= 0 else None for item in (live_items, offline_items)
        ]
        found.first.append({**about, "feature": f"candidate {place}", "live": ids[0], "offline": ids[1]})
    for place, column in np.argwhere(cells)[: SHOWN - len(found.first)]:
        found.first.append(
            {
                **about,
                "feature": snapshot.feature_names[column],
                "live": float(live[present][place, column]),
                "offline": float(offline[present][place, column]),
            }
        )
