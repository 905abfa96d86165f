"""Fills the figures of docs/*.md in again from what the pipeline wrote: `python docs/figures.py`.

A figure is a link to its file with its place as the title, `[0.305](../reports/metrics/evaluate.json "mrr@20")`; of a
CSV the title names cells of the row, or `last` for the last one, then the column. Decimals stay as they are written.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIGURE = re.compile(r'\[(?P<text>[\d.]+)\]\(\.\./(?P<file>reports/[^ )]+) "(?P<place>[^"]+)"\)')


def figure(path: Path, place: str) -> float:
    """Raises KeyError where the file has no such place."""
    if path.suffix == ".json":
        return float(json.loads(path.read_text())[place])
    *cells, column = place.split(", ")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    rows = rows[-1:] if cells == ["last"] else [row for row in rows if set(cells) <= set(row.values())]
    if len(rows) != 1:
        raise KeyError(f"{path}: {len(rows)} rows hold {', '.join(cells)}")
    return float(rows[0][column])


def with_figures(text: str, root: Path = ROOT) -> str:
    """The text with each figure as the file in `root` has it."""

    def again(match: re.Match) -> str:
        decimals = len(match["text"].partition(".")[2])
        value = figure(root / match["file"], match["place"])
        return match[0].replace(f"[{match['text']}]", f"[{value:.{decimals}f}]", 1)

    return FIGURE.sub(again, text)


if __name__ == "__main__":
    for page in (ROOT / "docs").glob("*.md"):
        page.write_text(with_figures(page.read_text()))
