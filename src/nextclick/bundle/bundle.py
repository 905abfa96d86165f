"""The bundle: vocabulary, index, item vectors, statistics and ranker as one folder with a manifest, and no pickle."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost as xgb

from nextclick.bundle.array_checks import check_arrays
from nextclick.bundle.signature import SIGNATURE, sign, verify
from nextclick.errors import InputError
from nextclick.events.known_items import known_items
from nextclick.features.candidate_features import FEATURE_TYPE
from nextclick.files import sha256_of
from nextclick.params import Params, Retrieval
from nextclick.ranking.recommender import Recommender
from nextclick.ranking.snapshot import Snapshot

LIBRARIES = ("numpy", "numba", "xgboost")
ITEMS = "items.parquet"
ITEM_SCHEMA = pa.schema([("item_id", pa.string()), ("title", pa.string()), ("category", pa.string())])


def save_bundle(
    recommender: Recommender,
    folder: Path,
    *,
    params: Params,
    trained_until: str,
    metrics: dict,
    items: pd.DataFrame | None = None,
) -> dict:
    """Write the bundle and return its manifest.

    trained_until: the time of the last event that it knows, ISO text. items: the shop's items, whose titles and
    categories the bundle holds. The version is a hash of every file and of the params, so two bundles of the same
    version are equal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():  # never overwritten in place: a service may have mapped it
        old.unlink()
    known = None if items is None else known_items(items, pd.Timestamp(trained_until))
    recommender.snapshot.save(folder)
    recommender.ranker.save_model(folder / "ranker.ubj")
    pq.write_table(_items_table(known, recommender.snapshot.vocabulary.ids), folder / ITEMS)
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.name != "manifest.json"}
    manifest = {
        "trained_until": trained_until,
        "items": len(recommender.snapshot.vocabulary),
        "sessions": len(recommender.snapshot.retriever.index.offsets) - 1,
        "features": {
            group: dict.fromkeys(names, FEATURE_TYPE) for group, names in recommender.snapshot.features_by_group.items()
        },
        "event_types": params.ingest.event_types,
        "params": json.loads(params.model_dump_json(include={"run", "retrieval", "ranker"})),
        "metrics": metrics,
        "libraries": {name: version(name) for name in LIBRARIES},
        "files": files,
    }
    versioned = {"version": _version_of(manifest), **manifest}
    (folder / "manifest.json").write_text(json.dumps(versioned, indent=1) + "\n")
    sign(folder)
    return versioned


def load_bundle(folder: Path) -> tuple[Recommender, dict]:
    """The recommender and its manifest.

    Raises InputError, naming the file or the feature, if the bundle is not complete (see `check_files`), its arrays do
    not fit together, or the features that the ranker was trained on are not those that this code computes.
    """
    manifest = check_files(folder)
    try:
        retrieval, bundled = Retrieval(**manifest["params"]["retrieval"]), dict(manifest["features"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / 'manifest.json'}: params.retrieval or features: {error!r}") from error
    try:
        snapshot = Snapshot.load(folder, retrieval)
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise InputError(f"{folder}: an array cannot be read: {error}; make it again with `dvc repro`") from error
    check_arrays(folder, snapshot)
    _check_features(folder, bundled, snapshot.features_by_group)
    return Recommender.of(snapshot, xgb.Booster(model_file=folder / "ranker.ubj")), manifest


def check_files(folder: Path) -> dict:
    """The manifest of a bundle. Raises InputError, naming the file, if the required signature is missing, or a file is
    missing or not the one that the manifest names."""
    manifest = _verified_manifest(folder)
    version = manifest.get("version")
    if version != _version_of({name: value for name, value in manifest.items() if name != "version"}):
        raise InputError(f"{folder / 'manifest.json'}: not the manifest that was bundled as {version}")
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing; the manifest of bundle {version} names it")
        if sha256_of(path) != expected:
            raise InputError(f"{path}: not the file that was bundled as {version}")
    for path in folder.iterdir():
        if path.name not in manifest["files"] and path.name not in ("manifest.json", SIGNATURE):
            raise InputError(f"{path}: the manifest of bundle {version} does not name it")
    return manifest


def _verified_manifest(folder: Path) -> dict:
    """The manifest, which is read once so that what is parsed is what was verified. Raises InputError."""
    path = folder / "manifest.json"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: no manifest of a bundle: {error.strerror}; `dvc repro` makes one") from error
    verify(folder, content)
    try:
        manifest = json.loads(content)
    except ValueError as error:
        raise InputError(f"{path}: no manifest of a bundle: {error}") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise InputError(f"{path}: no manifest of a bundle: it names no files")
    return manifest


def bundled_items(folder: Path) -> pa.Table:
    """The columns of ITEM_SCHEMA for each item in the order of the vocabulary, null where unknown."""
    return pq.read_table(folder / ITEMS)


def _items_table(items: pd.DataFrame | None, ids: np.ndarray) -> pa.Table:
    rows = pd.DataFrame({"item_id": ids.astype(object)})
    if items is not None:
        rows = rows.merge(items, "left", "item_id")
    rows = rows.reindex(columns=ITEM_SCHEMA.names)
    return pa.Table.from_pandas(rows, ITEM_SCHEMA, preserve_index=False).replace_schema_metadata()


def _version_of(manifest: dict) -> str:
    """The version of a manifest, which does not hold one yet."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:12]


def _check_features(folder: Path, bundled: dict[str, dict[str, str]], computed: dict[str, tuple[str, ...]]) -> None:
    """Raises InputError unless the bundled features are those that this code computes, in the same order."""
    for names in bundled.values():
        for name, kind in names.items():
            if kind != FEATURE_TYPE:
                raise InputError(f"{folder}: feature {name} is {kind} in the bundle and {FEATURE_TYPE} in this code")
    trained_names = [name for names in bundled.values() for name in names]
    computed_names = [name for names in computed.values() for name in names]
    for position, (trained, ours) in enumerate(zip(trained_names, computed_names, strict=False)):
        if trained != ours:
            raise InputError(f"{folder}: feature {position} is {trained} in the bundle and {ours} in this code")
    if len(trained_names) != len(computed_names):
        extra = set(trained_names) ^ set(computed_names)
        raise InputError(f"{folder}: {', '.join(sorted(extra))}: only in the bundle or only in this code")
