"""The stored states of sessions: one read of the online store, and what to use while it does not answer."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from nextclick.errors import StoreUnavailableError
from nextclick.events.session_state import EMPTY, SessionState
from nextclick.features.store.online import OnlineStates, StoredState

PROBE_SECONDS = 0.2  # between two probes of a store that did not answer
WARM_UPS = 20
MAX_REMEMBERED = 10_000  # sessions whose last state is used meanwhile
log = logging.getLogger(__name__)


class SessionReader:
    """Reads states of sessions. After the store fails, no request waits for it until a thread finds it available."""

    def __init__(self, online: OnlineStates) -> None:
        self._online = online
        self._available = threading.Event()
        self._available.set()
        self._stopped = threading.Event()
        self._last: OrderedDict[str, SessionState] = OrderedDict()

    @property
    def available(self) -> bool:
        return self._available.is_set()

    def read(self, sessions: Sequence[str], at_ms: int) -> tuple[list[StoredState], bool]:
        """The states at `at_ms`, and whether they come from the store; if not, they are the last ones read here, as is
        that of a row that cannot be read."""
        if self._available.is_set():
            try:
                states = self._online.read(sessions, at_ms)
            except StoreUnavailableError as error:
                log.warning("store unavailable", extra={"reason": str(error)})
                self._available.clear()
                threading.Thread(target=self._probe, name="store probe", daemon=True).start()
            else:
                return [
                    self._readable(session, stored, at_ms) for session, stored in zip(sessions, states, strict=True)
                ], True
        return [self._remembered(session, at_ms) for session in sessions], False

    def _readable(self, session: str, stored: StoredState, at_ms: int) -> StoredState:
        if stored.unreadable:  # the consumer makes the row again when the next click of the session comes
            log.warning("unreadable row", extra={"session_id": session, "reason": stored.unreadable})
            return replace(self._remembered(session, at_ms), unreadable=stored.unreadable)
        self._remember(session, stored.state)
        return stored

    def _remembered(self, session: str, at_ms: int) -> StoredState:
        state = self._last.get(session, EMPTY)
        return StoredState(state, at_ms - state[-1].timestamp if state else None)

    def warm_up(self) -> None:
        """Connect, so that the first request does not wait for it."""
        for _ in range(WARM_UPS):
            self.read(["warm-up"], 0)

    def close(self) -> None:
        self._stopped.set()

    def _remember(self, session: str, state: SessionState) -> None:
        if state:
            self._last[session] = state
            self._last.move_to_end(session)
            if len(self._last) > MAX_REMEMBERED:
                self._last.popitem(last=False)

    def _probe(self) -> None:
        while not self._stopped.wait(PROBE_SECONDS):
            try:
                self._online.read(["probe"])
            except StoreUnavailableError:
                continue
            self._available.set()
            log.info("store available again")
            return
