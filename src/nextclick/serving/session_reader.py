"""The stored states of sessions: one read of the online store, and what to use while it does not answer."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from nextclick.errors import StoreUnavailableError
from nextclick.events.session_state import EMPTY, SessionState
from nextclick.features.store.online import OnlineStates, StoredState

PROBE_SECONDS = 0.2  # between two probes of a store that did not answer, or too slowly
PROBES = 3  # in succession that have to be fast enough
SLOW_MS = 12.5  # a quarter of the usual budget: reads that usually take longer cost more lists than they improve
SMOOTHING = 0.2  # weight of the newest read in the usual time: one pause of the machine tells nothing of the store
WARM_UPS = 20
MAX_REMEMBERED = 10_000  # sessions whose last state is used meanwhile
log = logging.getLogger(__name__)


class SessionReader:
    """Reads states of sessions. After the store fails or becomes slow, no request waits for it until a thread finds it
    fast enough: a read keeps the event loop from everybody, and so a slow store is worse than none.

    Circuit breakers of libraries count errors, which a slow store does not make.
    """

    def __init__(self, online: OnlineStates, slow_ms: float = SLOW_MS) -> None:
        """slow_ms: reads that usually take longer are too slow."""
        self._online, self._slow = online, slow_ms / 1e3
        self._usual = 0.0  # seconds of a read
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
                began = time.perf_counter()
                states = self._online.read(sessions, at_ms)
                self._usual += SMOOTHING * (time.perf_counter() - began - self._usual)
            except StoreUnavailableError as error:
                self._leave_alone(str(error))
            else:
                if self._usual > self._slow:
                    self._leave_alone(f"a read usually takes {self._usual * 1e3:.1f} ms")
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

    def _leave_alone(self, reason: str) -> None:
        log.warning("store unavailable", extra={"reason": reason})
        self._available.clear()
        threading.Thread(target=self._probe, name="store probe", daemon=True).start()

    def _probe(self) -> None:
        fast = 0
        while fast < PROBES and not self._stopped.wait(PROBE_SECONDS if fast == 0 else 0):
            began = time.perf_counter()
            try:
                self._online.read(["probe"])
            except StoreUnavailableError:
                fast = 0
                continue
            fast = fast + 1 if time.perf_counter() - began <= self._slow else 0
        if fast == PROBES:
            self._usual = 0.0
            self._available.set()
            log.info("store available again")
