"""The deployment pointer: a small file that names the bundles of a recommender that answer; the service watches it."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nextclick.errors import InputError, problems_of
from nextclick.files import written_whole
from nextclick.settings import DeploymentSettings

FOLDER = Path("models/deployed")
DEFAULT_BUNDLE = "models/bundle"


class DeployedBundle(BaseModel):
    """bundle: its folder, relative to the project's root. version: the one that its manifest must have; None: any."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    bundle: str
    version: str | None = None


class TrafficSplit(DeployedBundle):
    """A challenger that answers a share of the sessions."""

    share: float = Field(gt=0, lt=1)


class Change(BaseModel):
    """What made the champion the champion. before: the number of the version that it replaced, None if none."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["promote", "rollback"]
    before: str | None = None


class Pointer(DeployedBundle):
    """bundle, version: of the champion. shadow: its answers are logged and never shown. history: the folders of the
    champions, oldest first, each with the time at which it took over (ISO text); the last is the present one.
    withdrawn: bundles that were rolled back, for which the gate's verdict no longer counts. change: the last of the
    champion, by which a command that was killed and is run again knows what it has done already."""

    shadow: DeployedBundle | None = None
    split: TrafficSplit | None = None
    history: tuple[tuple[str, str], ...] = ()
    withdrawn: tuple[str, ...] = ()
    change: Change | None = None

    @classmethod
    def parse(cls, text: str, path: Path) -> Pointer:
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            expected = '{"bundle": "path/of/its/folder", "version": "optional"}'
            raise InputError(
                f"{path}: expected {expected}, got {text[:80]!r}: {problems_of(error)}. "
                "Without the file nothing is deployed, and `nextclick promote` writes a new one"
            ) from error

    @classmethod
    def read(cls, root: Path, name: str) -> Pointer:
        """What is deployed; the pipeline's own bundle if nothing was deployed yet. Raises InputError."""
        path = pointer_path(root, name)
        return cls.parse(path.read_text(errors="replace"), path) if path.is_file() else cls(bundle=DEFAULT_BUNDLE)

    def write(self, root: Path, name: str) -> None:
        """Replace the file in one step: a reader sees the old one or the new one."""
        with written_whole(pointer_path(root, name), durable=True) as scratch:
            scratch.write_text(self.model_dump_json(indent=1, exclude_defaults=True) + "\n")


def pointer_path(root: Path, name: str) -> Path:
    return root / FOLDER / f"{name}.json"


def served_name() -> str:
    """The recommender that the service answers for: NEXTCLICK_RECOMMENDER."""
    return DeploymentSettings.read().recommender


def in_challenger_arm(session_id: str, challenger: str, share: float) -> bool:
    """Whether the challenger, named by its version, answers a session.

    The result is the same in every process, and a larger share keeps the sessions of a smaller one.
    """
    digest = blake2b(f"{challenger}:{session_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64
