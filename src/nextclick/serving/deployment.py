"""Which bundles answer: a small file names them, and when that changes new ones are loaded beside the old and take
their place in one step. Where one is broken the file is refused, and the old ones go on. So it is with published item
statistics."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from nextclick.bundle.pointer import Placed, Pointer, pointer_path, served_name, takes_part
from nextclick.errors import InputError
from nextclick.logs.published_statistics import published
from nextclick.params import Features
from nextclick.serving.loaded_bundle import Model
from nextclick.serving.metrics import BUNDLE, REFUSED_BUNDLES, STATISTICS_AT, SWAPS
from nextclick.serving.statistics import with_published

EVERY = 1.0  # seconds between two looks at the pointer and at what was published
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deployed:
    """Bundles in memory. challenger: answers `share` of the sessions. shadow: is only logged."""

    champion: Model
    challenger: Model | None = None
    share: float = 0.0
    shadow: Model | None = None

    def model_for(self, session_id: str) -> Model:
        if self.challenger and takes_part(session_id, self.challenger.version, self.share):
            return self.challenger
        return self.champion

    def with_published(self, root: Path, features: Features) -> Deployed:
        """The same with the newest item statistics that are published. Raises InputError."""
        champion, challenger, shadow = (
            model and with_published(model, root, features) for model in (self.champion, self.challenger, self.shadow)
        )
        assert champion is not None
        return Deployed(champion, challenger, self.share, shadow)

    @property
    def models(self) -> tuple[Model, ...]:
        return tuple(model for model in (self.champion, self.challenger, self.shadow) if model)


class Deployment:
    """now: what answers. A request reads it once, and keeps to what it read."""

    def __init__(self, root: Path, features: Features) -> None:
        """Raises InputError where a bundle that is to be served cannot be."""
        self._root, self._features, self._name = root, features, served_name()
        self._stopped = threading.Event()
        self._seen = self._pointer()
        self.now = self._ready(self._seen, ())
        self._taken: object = None
        self._take_statistics()
        self._watcher = threading.Thread(target=self._watch, name="deployment", daemon=True)
        self._watcher.start()

    @property
    def model(self) -> Model:
        """The champion."""
        return self.now.champion

    def close(self) -> None:
        self._stopped.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._stopped.wait(EVERY):
            try:
                self.look()
            except Exception:  # the old bundles go on, and the next look may go well
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
            now = self._ready(pointer, self.now.models)
        except (InputError, OSError, ValueError, KeyError, TypeError) as error:
            REFUSED_BUNDLES.inc()
            log.error("bundle refused", extra={"reason": str(error), "kept": self.model.version})
            return
        old, new = ([model.version for model in deployed.models] for deployed in (self.now, now))
        log.info("bundles swapped", extra={"old": old, "new": new})
        self.now = now
        SWAPS.inc()

    def _take_statistics(self) -> None:
        there = [model.version for model in self.now.models], published(self._root)[-1:]
        if there == self._taken:
            return
        self._taken = there
        try:
            self.now = self.now.with_published(self._root, self._features)
        except InputError as error:
            log.error("item statistics refused", extra={"reason": str(error)})
        if self.model.statistics_at is not None:
            STATISTICS_AT.set(self.model.statistics_at / 1e3)

    def _pointer(self) -> tuple[str, int]:
        """What the file says and when it was written; touching it is enough to try again."""
        path = pointer_path(self._root, self._name)
        try:
            return path.read_text(errors="replace"), path.stat().st_mtime_ns
        except FileNotFoundError:
            return Pointer.read(self._root, self._name).model_dump_json(), 0
        except OSError as error:  # a folder, or not ours to read: refused once, not at every look
            return f"cannot be read: {error}", 0

    def _ready(self, pointer: tuple[str, int], there: tuple[Model, ...]) -> Deployed:
        """there: models that need not be loaded again."""
        wanted = Pointer.parse(pointer[0], pointer_path(self._root, self._name))
        return Deployed(
            self._model(wanted, there),
            self._model(wanted.split, there) if wanted.split else None,
            wanted.split.share if wanted.split else 0.0,
            self._model(wanted.shadow, there) if wanted.shadow else None,
        )

    def _model(self, placed: Placed, there: tuple[Model, ...]) -> Model:
        folder = self._root / placed.bundle
        for model in there:  # a copy in another folder is loaded, and so checked
            if model.folder == folder and model.version == _version(folder) == (placed.version or model.version):
                return model
        model = Model.load(folder)
        if placed.version not in (None, model.version):
            raise InputError(f"{folder}: holds bundle {model.version}, where the pointer names {placed.version}")
        model.warm_up()
        BUNDLE.labels(model.version).set_to_current_time()
        return model


def _version(folder: Path) -> str | None:
    """What the manifest says, unchecked."""
    try:
        return json.loads((folder / "manifest.json").read_text())["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
