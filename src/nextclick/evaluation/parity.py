"""Compares what the service computes with what training computes.

The writer and the reader of live clicks play events through the online store, one by one. At each of them every feature
of every candidate is compared with what the log of the events so far gives.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import numpy as np
import pandas as pd
from numba import get_num_threads, set_num_threads

from nextclick.events.click_order import with_positions
from nextclick.events.prefixes import Prefixes
from nextclick.events.schema import EVENT_IDENTITY
from nextclick.events.session_state import Click, prefixes_of
from nextclick.events.sessions import SessionLog
from nextclick.features.store.offline import states_of
from nextclick.features.store.online import OnlineStates
from nextclick.progress import progress_bar
from nextclick.ranking.snapshot import Snapshot

CHUNK = 500  # events whose features are compared at once
SHOWN = 10  # differences that the report names


@dataclass
class Parity:
    """The counts of a comparison. A cell is one feature of one candidate at one event, or the candidate itself.

    moments: events at which candidates were compared. rebuilt: states that were lost and rebuilt. first: the first
    differences, each with session, time, feature, and its value live and offline.
    """

    moments: int = 0
    cells: int = 0
    differing: int = 0
    rebuilt: int = 0
    first: list[dict] = field(default_factory=list)


def parity(
    snapshot: Snapshot,
    arriving: pd.DataFrame,
    online: OnlineStates,
    event_types: list[str],
    *,
    expire: float = 0.0,
    seed: int = 0,
) -> Parity:
    """Play canonical events in the given order and compare at each of them.

    expire: the share of the events before which the stored state is lost and rebuilt from the events so far.
    The sessions have a prefix in the store, so that they meet no live ones, and are deleted at the end.
    """
    arriving = with_positions(arriving)
    result, threads, prefix = Parity(), get_num_threads(), f"parity-{uuid4().hex}-"
    lost = np.random.default_rng(seed).random(len(arriving)) < expire
    so_far: dict[str, list[int]] = defaultdict(list)  # indices of the rows of each session
    newest: dict[str, int] = defaultdict(int)  # ms; a request comes at the time of the newest click of its session
    try:
        for first in progress_bar(range(0, len(arriving), CHUNK), desc="parity", unit="chunk"):
            chunk = arriving.iloc[first : first + CHUNK]
            rows, live = [], []
            set_num_threads(1)  # as a service does: waking a second thread costs more than one request
            for index, session, click in _clicks(chunk, event_types):
                name = prefix + session
                if lost[index] and so_far[session]:
                    [(_, state)] = states_of(arriving.iloc[so_far[session]], "session_id", event_types)
                    online.forget([name])
                    online.merge({name: state})
                    result.rebuilt += 1
                online.merge({name: [click]})
                newest[session] = max(newest[session], click.timestamp)
                [read] = online.read([name], now=newest[session])
                live.append(snapshot.features(prefixes_of([read.state], snapshot.vocabulary)))
                so_far[session].append(index)
                rows.append(list(so_far[session]))
            set_num_threads(threads)
            offline, features = snapshot.features(_offline_prefixes(arriving, rows, event_types, snapshot))
            for i, (candidates, values) in enumerate(live):
                _compare(result, chunk.iloc[i], snapshot, candidates.items[0], values[0], offline.items[i], features[i])
    finally:
        set_num_threads(threads)
        online.forget([prefix + session for session in so_far])
    return result


def _clicks(chunk: pd.DataFrame, event_types: list[str]) -> Iterator[tuple[int, str, Click]]:
    times = chunk["timestamp"].to_numpy("datetime64[ms]").astype(np.int64)
    names = ("session_id", "position", "event_id", "item_id", "event_type")
    columns = (chunk[name].tolist() for name in names)
    for index, time, session, position, event, item, kind in zip(chunk.index, times.tolist(), *columns, strict=True):
        yield index, session, Click(time, position, event, item, event_types.index(kind))


def _offline_prefixes(
    arriving: pd.DataFrame, rows: list[list[int]], event_types: list[str], snapshot: Snapshot
) -> Prefixes:
    """A prediction for each list of rows, as a session of a log of its own: the way in which a batch computes."""
    names = np.repeat([f"{i:06d}" for i in range(len(rows))], list(map(len, rows)))
    table = arriving.iloc[np.concatenate(rows)].assign(session_id=names)
    table = table.drop_duplicates(list(EVENT_IDENTITY))
    log = SessionLog.from_events(table, event_types, snapshot.vocabulary)
    order = np.argsort(log.session_ids)
    return Prefixes.of(log, order.astype(np.int32), log.offsets[1:][order])


def _compare(
    result: Parity,
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
    result.moments += 1
    result.cells += items.size + cells.size
    result.differing += int(items.sum() + cells.sum())
    about = {"session": event["session_id"], "time": event["timestamp"].isoformat()}
    for rank in np.flatnonzero(items)[: SHOWN - len(result.first)]:
        ids = [snapshot.vocabulary.ids[item[rank]] if item[rank] >= 0 else None for item in (live_items, offline_items)]
        result.first.append({**about, "feature": f"candidate {rank}", "live": ids[0], "offline": ids[1]})
    for row, column in np.argwhere(cells)[: SHOWN - len(result.first)]:
        result.first.append(
            {
                **about,
                "feature": snapshot.feature_names[column],
                "live": float(live[present][row, column]),
                "offline": float(offline[present][row, column]),
            }
        )
