"""Which bundles answer: a pointer file names them, and when it changes, new ones are loaded beside the old and take
over in one step. If one is invalid, the pointer is refused and the old ones go on. So it is with published item
statistics."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG

from nextclick.bundle.bundle import check_files
from nextclick.bundle.pointer import DeployedBundle, Pointer, in_challenger_arm, pointer_path, served_name
from nextclick.errors import InputError
from nextclick.logs.published_statistics import published_versions
from nextclick.params import Features
from nextclick.serving.bundle_trial import try_bundle
from nextclick.serving.loaded_bundle import LoadedBundle
from nextclick.serving.observability import BUNDLE, REFUSED_BUNDLES, STATISTICS_AT, SWAPS

REGISTERED = Path("models/registry")
MAX_POINTER_BYTES = 2**20
POLL_SECONDS = 1.0  # between two polls of the pointer and of the published statistics
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedBundles:
    """champion: answers most sessions. challenger: answers `share` of them. shadow: its answers are only logged."""

    champion: LoadedBundle
    challenger: LoadedBundle | None = None
    share: float = 0.0
    shadow: LoadedBundle | None = None

    def bundle_for(self, session_id: str) -> LoadedBundle:
        if self.challenger and in_challenger_arm(session_id, self.challenger.version, self.share):
            return self.challenger
        return self.champion

    def with_published_statistics(self, root: Path, features: Features) -> ServedBundles:
        """These bundles with the newest published item statistics. Raises InputError."""
        return replace(
            self,
            champion=self.champion.with_published_statistics(root, features),
            challenger=self.challenger and self.challenger.with_published_statistics(root, features),
            shadow=self.shadow and self.shadow.with_published_statistics(root, features),
        )

    @property
    def bundles(self) -> tuple[LoadedBundle, ...]:
        return tuple(bundle for bundle in (self.champion, self.challenger, self.shadow) if bundle)


class Deployment:
    """now: the bundles that answer. A request reads it once and keeps to what it read."""

    def __init__(self, root: Path, features: Features) -> None:
        """Raises InputError if a bundle that the pointer names is invalid."""
        self._root, self._features, self._name = root, features, served_name()
        self._stopped = threading.Event()
        self._seen = self._pointer()
        self.now = self._load(self._seen, ())
        self._adopted: object = None
        self._adopt_statistics()
        self._watcher = threading.Thread(target=self._watch, name="deployment", daemon=True)
        self._watcher.start()

    @property
    def champion(self) -> LoadedBundle:
        return self.now.champion

    def close(self) -> None:
        self._stopped.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._stopped.wait(POLL_SECONDS):
            try:
                self.poll()
            except Exception:  # the old bundles go on, and the next poll may succeed
                log.exception("the deployment pointer could not be followed")

    def poll(self) -> None:
        """Follow the pointer and the published statistics if they changed since the last poll."""
        self._follow_pointer()
        self._adopt_statistics()

    def _follow_pointer(self) -> None:
        pointer = self._pointer()
        if pointer == self._seen:
            return
        self._seen = pointer
        try:
            now = self._load(pointer, self.now.bundles)
        except Exception as error:  # whatever it is, the old bundles go on
            REFUSED_BUNDLES.inc()
            reason = str(error) if isinstance(error, InputError) else repr(error)
            log.error("bundle refused", extra={"reason": reason, "kept": self.champion.version})
            return
        old, new = ([bundle.version for bundle in served.bundles] for served in (self.now, now))
        log.info("bundles swapped", extra={"old": old, "new": new})
        self.now = now
        SWAPS.inc()

    def _adopt_statistics(self) -> None:
        current = [bundle.version for bundle in self.now.bundles], published_versions(self._root)[-1:]
        if current == self._adopted:
            return
        self._adopted = current
        try:
            self.now = self.now.with_published_statistics(self._root, self._features)
        except InputError as error:
            log.error("item statistics refused", extra={"reason": str(error)})
        if self.champion.statistics_at is not None:
            STATISTICS_AT.set(self.champion.statistics_at / 1e3)

    def _pointer(self) -> tuple[str, int]:
        """The text of the pointer file and when it was written, in ns; touching the file is enough to try again."""
        path = pointer_path(self._root, self._name)
        try:
            about = path.stat()
            if not S_ISREG(about.st_mode) or about.st_size > MAX_POINTER_BYTES:
                return f"expected a file of at most {MAX_POINTER_BYTES} bytes", about.st_mtime_ns
            return path.read_text(errors="replace"), about.st_mtime_ns
        except FileNotFoundError:
            return Pointer.read(self._root, self._name).model_dump_json(), 0
        except OSError as error:  # a folder, or one without permission: refused once, not at every poll
            return f"cannot be read: {error}", 0

    def _load(self, pointer: tuple[str, int], loaded: tuple[LoadedBundle, ...]) -> ServedBundles:
        """The bundles that the pointer names. loaded: those in memory, which are used again."""
        wanted = Pointer.parse(pointer[0], pointer_path(self._root, self._name))
        return ServedBundles(
            champion=self._bundle(wanted, loaded),
            challenger=self._bundle(wanted.split, loaded) if wanted.split else None,
            share=wanted.split.share if wanted.split else 0.0,
            shadow=self._bundle(wanted.shadow, loaded) if wanted.shadow else None,
        )

    def _bundle(self, wanted: DeployedBundle, loaded: tuple[LoadedBundle, ...]) -> LoadedBundle:
        folder = self._root / wanted.bundle
        for bundle in loaded:  # a copy in another folder is loaded, and so checked
            if bundle.folder == folder and bundle.version == _version(folder) == (wanted.version or bundle.version):
                return bundle
        if not self._answered_before(wanted, folder):
            check_files(folder)  # which takes no process of its own, and tells most of what may be wrong
            try_bundle(folder)
        bundle = LoadedBundle.load(folder)
        if wanted.version not in (None, bundle.version):
            raise InputError(f"{folder}: holds bundle {bundle.version}, where the pointer names {wanted.version}")
        bundle.warm_up()
        BUNDLE.labels(bundle.version).set_to_current_time()
        return bundle

    def _answered_before(self, wanted: DeployedBundle, folder: Path) -> bool:
        """Whether the pipeline has evaluated just this bundle: the one that answers without a pointer, and all of the
        registry, whose versions name their content."""
        registered = wanted.version is not None and folder.is_relative_to(self._root / REGISTERED)
        return registered or not pointer_path(self._root, self._name).exists()


def _version(folder: Path) -> str | None:
    """The version in the manifest, unchecked; None if it cannot be read."""
    try:
        return json.loads((folder / "manifest.json").read_text())["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
