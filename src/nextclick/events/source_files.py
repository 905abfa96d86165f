"""Which files of a folder hold the events, and which the items: every choice is told, and none is made by chance."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from nextclick.errors import InputError
from nextclick.events.text_files import endings, stem

FORMATS = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson", ".json")
EVENTS, TRAIN, TEST, ITEMS = "events", "train", "test", "items"
TABLE_FORMATS = {"_delta_log": "Delta", ".hoodie": "Hudi", "metadata": "Iceberg"}  # by the folder that marks them


@dataclass(frozen=True)
class SourceFiles:
    """events, items: the files to read, ordered by path. root: the folder in which they lie. unread: other files in it,
    by path from there."""

    root: Path
    events: list[Path]
    items: list[Path]
    unread: list[str]

    @property
    def items_root(self) -> Path:
        return self.items[0].parent if self.items else self.root


def source_files(path: Path) -> SourceFiles:
    """The files of a source: one file; or of a folder `events.*`, or `train.*` and `test.*`, or else all files in it
    and in the folders below; and beside each of them `items.*`.

    Raises InputError if there is none, if one stands there twice in two formats, or if the folder is a table of Delta,
    Iceberg or Hudi, whose files also hold rows that were deleted.
    """
    if path.is_file():
        _refuse_table_formats([path.parent])
        return SourceFiles(path.parent, [path], [], [])
    _refuse_table_formats([path.parent, path, *(folder for folder in path.rglob("*") if folder.is_dir())])
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and not _is_hidden(file, path)]
    readable = [file for file in files if endings(file)[0] in FORMATS]
    items = [file for file in readable if file.parent == path and stem(file).lower() == ITEMS]
    top = [file for file in readable if file.parent == path]
    named = [file for file in top if stem(file).lower() == EVENTS] or [
        file for file in top if stem(file).lower() in (TRAIN, TEST)
    ]
    events = named or [file for file in readable if file not in items]
    if not items and not named:  # a folder of partitions, beside which the items lie
        items = [file for file in sorted(path.parent.glob(f"{ITEMS}.*")) if endings(file)[0] in FORMATS]
    if not events:
        raise InputError(
            f"{path}: expected a file events.*, or train.* and test.*, or any files that end in {', '.join(FORMATS)}, "
            f"plain or compressed; it holds {', '.join(file.name for file in files[:5]) or 'no file'}"
        )
    _refuse_copies(events)
    _refuse_copies(items)
    read = {*events, *items}
    return SourceFiles(path, events, items, [str(file.relative_to(path)) for file in files if file not in read])


def part_of(file: Path) -> str | None:
    """train or test, where the file's name says it."""
    return stem(file).lower() if stem(file).lower() in (TRAIN, TEST) else None


def _is_hidden(file: Path, root: Path) -> bool:
    """Whether a file is unfinished, or a note that a writer left, as Spark's _SUCCESS is."""
    return any(part[0] in "._" for part in file.relative_to(root).parts)


def _refuse_copies(files: list[Path]) -> None:
    by_name: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        by_name[file.with_name(stem(file).lower())].append(file)
    for copies in by_name.values():
        if len(copies) > 1:
            names = " and ".join(file.name for file in copies)
            raise InputError(f"{copies[0].parent}: {names}: the same data twice? Leave one, or name one in ingest.path")


def _refuse_table_formats(folders: list[Path]) -> None:
    for folder in folders:
        for marker, name in TABLE_FORMATS.items():
            if (folder / marker).is_dir() and (marker != "metadata" or any((folder / marker).glob("*.metadata.json"))):
                raise InputError(
                    f"{folder}: is a table of {name}, whose files also hold rows that were deleted or replaced; export "
                    "it to Parquet, as with spark.read.format(...).load(...).write.parquet(...), and name that folder"
                )
