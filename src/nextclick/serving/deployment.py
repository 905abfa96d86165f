"""Which bundle answers: a small file names it, and when that changes the new one is loaded beside the old and takes its
place in one step. One that is broken is refused, and the old one goes on. So it is with published item statistics."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

from nextclick.errors import InputError
from nextclick.serving.metrics import BUNDLE, REFUSED_BUNDLES, STATISTICS_AT, SWAPS
from nextclick.serving.model import Model
from nextclick.serving.statistics import with_published
from nextclick.stream.statistics import published

POINTER = Path("models/deployed.json")
DEFAULT = "models/bundle"
EVERY = 1.0  # seconds between two looks at the pointer and at what was published
log = logging.getLogger(__name__)


class Deployment:
    """model: the one that answers. A request reads it once, and keeps to what it read."""

    def __init__(self, root: Path) -> None:
        """Raises InputError where the bundle that is to be served cannot be."""
        self._root = root
        self._stopped = threading.Event()
        self._seen = self._pointer()
        self.model = self._ready(self._seen)
        self._taken: object = None
        self._take_statistics()
        self._watcher = threading.Thread(target=self._watch, name="deployment", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        self._stopped.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._stopped.wait(EVERY):
            try:
                self.look()
            except Exception:
                log.exception("the deployment pointer could not be followed")

    def look(self) -> None:
        """Follow the pointer and the published statistics, where they changed since they were last looked at."""
        self._follow_pointer()
        self._take_statistics()

    def _follow_pointer(self) -> None:
        pointer = self._pointer()
        if pointer == self._seen:
            return
        self._seen = pointer
        try:
            model = self._ready(pointer)
        except (InputError, OSError, ValueError, KeyError, TypeError) as error:
            REFUSED_BUNDLES.inc()
            log.error("bundle refused", extra={"reason": str(error), "kept": self.model.version})
            return
        log.info("bundle swapped", extra={"old": self.model.version, "new": model.version})
        self.model = model
        SWAPS.inc()

    def _take_statistics(self) -> None:
        there = self.model.version, published(self._root)[-1:]
        if there == self._taken:
            return
        self._taken = there
        try:
            self.model = with_published(self.model, self._root)
        except InputError as error:
            log.error("item statistics refused", extra={"reason": str(error)})
        if self.model.statistics_at is not None:
            STATISTICS_AT.set(self.model.statistics_at / 1e3)

    def _pointer(self) -> tuple[str, int]:
        """What the file says and when it was written; touching it is enough to try again."""
        path = self._root / POINTER
        try:
            return path.read_text(), path.stat().st_mtime_ns
        except FileNotFoundError:
            return json.dumps({"bundle": DEFAULT}), 0

    def _ready(self, pointer: tuple[str, int]) -> Model:
        try:
            wanted = json.loads(pointer[0])
            folder, version = self._root / wanted["bundle"], wanted.get("version")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            expected = '{"bundle": "path/of/its/folder", "version": "optional"}'
            raise InputError(f"{self._root / POINTER}: expected {expected}: {error!r}") from error
        model = Model.load(folder)
        if version not in (None, model.version):
            raise InputError(f"{folder}: holds bundle {model.version}, where {POINTER} names {version}")
        model.warm_up()
        BUNDLE.labels(model.version).set_to_current_time()
        return model
