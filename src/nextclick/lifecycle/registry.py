"""Versions of a recommender: GTO tags on the commits whose dvc.lock names the bundle, and their bundles side by side.

DVC can fetch the bundle of a tag on any clone (`dvc artifacts get . recommender --stage prod`); models/registry holds
those that this machine has, so that a service loads any version at once.
"""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from nextclick.bundle.bundle import load_bundle
from nextclick.errors import InputError
from nextclick.files import locked, scratch_folder
from nextclick.lifecycle.git_dvc import dvc, git, gto
from nextclick.monitoring.reference import REFERENCE, reference_of

REGISTRY = Path("models/registry")
PROD = "prod"


@dataclass(frozen=True)
class Version:
    """number: that of GTO, v3.0.0. bundle: its manifest's version. commit: the one whose dvc.lock names the bundle."""

    number: str
    bundle: str
    commit: str


def registries(root: Path) -> list[Registry]:
    """One for each recommender that dvc.yaml names."""
    return [Registry(root, name) for name in _artifacts(root)]


def _artifacts(root: Path) -> dict[str, dict]:
    return yaml.safe_load((root / "dvc.yaml").read_text()).get("artifacts", {})


@dataclass(frozen=True)
class Registry:
    """The versions of one recommender. name: one of the artifacts in dvc.yaml."""

    root: Path
    name: str

    @property
    def artifact(self) -> Path:
        """The folder of the pipeline's bundle, relative to the root. Raises InputError if dvc.yaml does not name it."""
        artifacts = _artifacts(self.root)
        if self.name not in artifacts:
            raise InputError(f"{self.root / 'dvc.yaml'}: names no artifact {self.name}; it has {', '.join(artifacts)}")
        return Path(artifacts[self.name]["path"])

    def versions(self) -> list[Version]:
        """All versions, oldest first."""
        tags = f"refs/tags/{self.name}@*"
        listed = git(self.root, "for-each-ref", "--format=%(refname:short) %(*objectname) %(contents:subject)", tags)
        versions = []
        for line in listed.splitlines():
            tag, commit, *subject = line.split()
            if subject[:1] == ["bundle"] and len(subject) == 2:
                versions.append(Version(tag.partition("@")[2], subject[1], commit))
        return sorted(versions, key=lambda version: [int(part) for part in re.findall(r"\d+", version.number)])

    def version(self, asked: str) -> Version:
        """A version by its number (v3.0.0, v3, 3) or its bundle. Raises InputError if there is none."""
        if version := self.find(asked):
            return version
        numbers = (
            ", ".join(version.number for version in self.versions()) or "none; `nextclick register` makes the first"
        )
        raise InputError(f"{self.name} has no version {asked}; there are {numbers}")

    def find(self, asked: str) -> Version | None:
        number = asked if asked.startswith("v") else f"v{asked}"
        number = number if number.count(".") == 2 else f"{number}.0.0"
        return next((one for one in self.versions() if number == one.number or asked == one.bundle), None)

    def of_bundle(self, bundle: str) -> Version | None:
        return next((version for version in self.versions() if version.bundle == bundle), None)

    def register(self) -> Version:
        """Make the pipeline's bundle the next version, unless it is a version already; returns its version.

        Raises InputError if HEAD is not the commit that names how the bundle was made.
        """
        folder = self.root / self.artifact
        bundle = load_bundle(folder)[1]["version"]
        with locked(self.root / REGISTRY / f".{self.name}.lock"):
            version = self.of_bundle(bundle)
            if version is None:
                self._check_committed(folder)
                last = self.versions()[-1].number if self.versions() else "v0.0.0"
                number = f"v{int(last[1:].split('.')[0]) + 1}.0.0"
                gto(self.root, "register", self.name, "HEAD", "--version", number, "-m", f"bundle {bundle}")
                version = self.version(number)
            if not self.folder(version).is_dir():
                with scratch_folder(self.folder(version).with_name(f".{version.number}")) as scratch:
                    shutil.copytree(folder, scratch / "bundle")
                    if (self.root / REFERENCE).is_dir():
                        shutil.copytree(self.root / REFERENCE, scratch / "reference")
                    self._move_in(scratch, version)
        return version

    def folder(self, version: Version) -> Path:
        return self.root / REGISTRY / self.name / version.number

    def bundle(self, version: Version) -> Path:
        """The folder of its bundle, fetched from DVC if this machine does not have it. Raises InputError if it is
        another bundle."""
        folder = self.folder(version)
        with locked(self.root / REGISTRY / f".{self.name}.lock"):
            if not folder.is_dir():
                with scratch_folder(folder.with_name(f".{version.number}")) as scratch:
                    source = ("--rev", version.number, "-o", str(scratch / "bundle"))
                    dvc(self.root, "artifacts", "get", str(self.root), self.name, *source)
                    if f"path: {REFERENCE}\n" in git(self.root, "show", f"{version.commit}:dvc.lock"):
                        source = ("--rev", version.commit, "-o", str(scratch / "reference"))
                        dvc(self.root, "get", str(self.root), str(REFERENCE), *source)
                    self._move_in(scratch, version)
        bundle = load_bundle(folder)[1]["version"]
        if bundle != version.bundle:
            raise InputError(f"{folder}: holds bundle {bundle}, where {self.name} {version.number} is {version.bundle}")
        return folder

    def _move_in(self, scratch: Path, version: Version) -> None:
        """Move reference and bundle from the scratch folder, the bundle last: if it exists, both are complete."""
        if (scratch / "reference").is_dir():
            shutil.rmtree(reference_of(self.folder(version)), ignore_errors=True)
            (scratch / "reference").rename(reference_of(self.folder(version)))
        (scratch / "bundle").rename(self.folder(version))

    def staged(self) -> str | None:
        """The number of the version in the stage PROD, as `gto show` reports it: that of its last tag's commit."""
        tags = git(
            self.root, "for-each-ref", "--format=%(refname:short) %(*objectname)", f"refs/tags/{self.name}#{PROD}#*"
        )
        stages = sorted((int(tag.rpartition("#")[2]), commit) for tag, commit in map(str.split, tags.splitlines()))
        numbers = {version.commit: version.number for version in self.versions()}
        return numbers.get(stages[-1][1]) if stages else None

    def assign(self, version: Version) -> None:
        """Put the version into the stage PROD, unless it is there."""
        if self.staged() != version.number:
            self._await_next_second()
            # without --force, GTO lets no version return to a stage
            gto(self.root, "assign", self.name, "--version", version.number, "--stage", PROD, "--force")

    def _await_next_second(self) -> None:
        """GTO orders the tags of a stage by their time in whole seconds: two in one second would have no order."""
        tags = ("--sort=-creatordate", "--count=1", f"refs/tags/{self.name}#{PROD}#*")
        last = git(self.root, "for-each-ref", "--format=%(creatordate:unix)", *tags).strip()
        time.sleep(max(0.0, min(1.0, int(last or 0) + 1 - time.time())))

    def _check_committed(self, folder: Path) -> None:
        """Raises InputError if what the bundle was made of is in no commit, or the bundle is not the pipeline's."""
        lock = yaml.safe_load((self.root / "dvc.lock").read_text())
        if git(self.root, "status", "--porcelain", "--", "dvc.lock", "dvc.yaml", "params.yaml").strip():
            raise InputError(
                "dvc.lock, dvc.yaml or params.yaml: commit them first, so that the version can be made again"
            )
        outs = [out["path"] for stage in lock["stages"].values() for out in stage.get("outs", [])]
        if str(self.artifact) not in outs:
            raise InputError(f"{self.root / 'dvc.lock'}: names no {self.artifact}; run `dvc repro` first")
        if dvc(self.root, "status", "--json", str(self.artifact)).strip() not in ("", "{}"):
            raise InputError(f"{folder}: not what dvc.lock names; run `dvc repro` first")
