"""Fills the figures of docs/*.md in again from what the pipeline wrote: `python docs/figures.py`.

A figure is a link to its file with its place as the title, `[0.305](../reports/metrics/evaluate.json "mrr@20")`; of a CSV
the title names cells of the row, then the column. A quotation ends with a link to a notebook whose title is a section:
it is the first line that this section prints. Decimals stay as they are written.
"""

from __future__ import annotations

import csv
import json
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIGURE = re.compile(r'\[(?P<text>[\d.]+)\]\(\.\./(?P<file>reports/[^ )]+) "(?P<place>[^"]+)"\)')
QUOTATION = re.compile(
    r'(?:^> .+\n)+^>\n(?P<link>^> \[(?P<name>\w+)\]\(\.\./notebooks/\w+\.ipynb "(?P<section>[^"]+)"\))$', re.MULTILINE
)
WIDTH = 118


def figure(path: Path, place: str) -> float:
    """Raises KeyError where the file has no such place."""
    if path.suffix == ".json":
        return float(json.loads(path.read_text())[place])
    *cells, column = place.split(", ")
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if set(cells) <= set(row.values())]
    if len(rows) != 1:
        raise KeyError(f"{path}: {len(rows)} rows hold {', '.join(cells)}")
    return float(rows[0][column])


def first_line(notebook: Path, section: str) -> str:
    """The first line that the section of an executed notebook prints. Raises KeyError where it prints none."""
    inside = False
    for cell in json.loads(notebook.read_text())["cells"]:
        heading = "".join(cell["source"]).partition("\n")[0]
        if cell["cell_type"] == "markdown" and heading.startswith("#"):
            inside = heading.lstrip("# ") == section
        for output in cell.get("outputs", []) if inside else []:
            if output["output_type"] == "stream":
                return "".join(output["text"]).partition("\n")[0]
    raise KeyError(f"{notebook}: section {section!r} prints nothing")


def with_figures(text: str, root: Path) -> str:
    def again(match: re.Match) -> str:
        decimals = len(match["text"].partition(".")[2])
        value = figure(root / match["file"], match["place"])
        return match[0].replace(f"[{match['text']}]", f"[{value:.{decimals}f}]", 1)

    return FIGURE.sub(again, text)


def with_quotations(text: str, executed: Path) -> str:
    """executed: the folder of the notebooks as they ran."""

    def again(match: re.Match) -> str:
        said = first_line(executed / f"{match['name']}.ipynb", match["section"])
        return "\n".join([*(f"> {line}" for line in textwrap.wrap(said, WIDTH)), ">", match["link"]])

    return QUOTATION.sub(again, text)


if __name__ == "__main__":
    for page in (ROOT / "docs").glob("*.md"):
        page.write_text(with_quotations(with_figures(page.read_text(), ROOT), ROOT / "reports/notebooks"))
