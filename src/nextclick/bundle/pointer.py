"""The deployment pointer: one small file that says which bundles of a recommender answer, watched by the service."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nextclick.errors import InputError

FOLDER = Path("models/deployed")
NAME = "NEXTCLICK_RECOMMENDER"  # which of several recommenders a service answers for
DEFAULT_NAME, DEFAULT_BUNDLE = "recommender", "models/bundle"


class Placed(BaseModel):
    """bundle: its folder, from the project's root. version: what its manifest must say; unset, anything."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    bundle: str
    version: str | None = None


class Split(Placed):
    """A challenger that answers a share of the sessions."""

    share: float = Field(gt=0, lt=1)


class Pointer(Placed):
    """bundle, version: of the champion. shadow: computes beside it, is logged and never shown. history: the folders of
    the champions, oldest first, each with the moment at which it took over (ISO text); the last is the present one.
    withdrawn: bundles that were rolled back; what the gate said of them no longer counts."""

    shadow: Placed | None = None
    split: Split | None = None
    history: tuple[tuple[str, str], ...] = ()
    withdrawn: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, path: Path) -> Pointer:
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problems = "; ".join(": ".join([*map(str, e["loc"]), e["msg"]]) for e in error.errors())
            expected = '{"bundle": "path/of/its/folder", "version": "optional"}'
            raise InputError(
                f"{path}: expected {expected}, got {text[:80]!r}: {problems}. Without the file nothing is deployed, "
                "and `nextclick promote` writes it anew"
            ) from error

    @classmethod
    def read(cls, root: Path, name: str) -> Pointer:
        """What is deployed; the pipeline's own bundle where nothing was yet."""
        path = pointer_path(root, name)
        return cls.parse(path.read_text(errors="replace"), path) if path.is_file() else cls(bundle=DEFAULT_BUNDLE)

    def write(self, root: Path, name: str) -> None:
        """In one step: a reader sees the old file or the new one."""
        path = pointer_path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        with scratch.open("w") as file:
            file.write(self.model_dump_json(indent=1, exclude_defaults=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)


def pointer_path(root: Path, name: str) -> Path:
    return root / FOLDER / f"{name}.json"


def served_name() -> str:
    return os.environ.get(NAME, DEFAULT_NAME)


def takes_part(session_id: str, challenger: str, share: float) -> bool:
    """Whether a session belongs to the challenger's share: always the same answer, in every process, and a larger share
    keeps the sessions of a smaller one."""
    digest = blake2b(f"{challenger}:{session_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64
