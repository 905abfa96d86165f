"""A command's result for a person: one line with the verdict, then what it rests on, as tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

MOST_ROWS = 12  # of a table; all of them are in the JSON
MOST_COLUMNS = 7

Result = Mapping[str, Any]
# what a command found or did, in a sentence; of the others the table tells
VERDICTS: dict[str, Callable[[Result], str]] = {
    "register": lambda r: f"{r['recommender']} {r['version']} is registered, of bundle {r['bundle']}.",
    "gate": lambda r: f"{_capital(r['verdict'])}: {r['reason']}.",
    "promote": lambda r: f"{r['version']} is the champion now{_instead(r)}.",
    "rollback": lambda r: f"{r['version']} is the champion again{_instead(r)}.",
    "shadow": lambda r: f"{r['version']} computes beside the champion." if r.get("version") else "No shadow computes.",
    "retrain": lambda r: f"{_capital(r['outcome'])}: {r['version']}{_because(r)}.",
    "drift": lambda r: f"{_capital(r['outcome'])}: {r['words']}",
    "ingest": lambda r: (
        f"{r['accepted']:,} events in {r['sessions']:,} sessions; {r['quarantined']:,} rows in quarantine."
    ),
    "reproduce": lambda r: f"{r['version']} is {'the same' if r['same'] else 'not the same'} again.",
    "forget": lambda r: f"{sum(r['removed'].values()):,} rows of {r['sessions']:,} sessions are removed.",
    "stream": lambda r: f"{r['events']:,} events were applied and kept.",
    "compact": lambda r: f"{r['merged']:,} of {r['days']:,} days were merged.",
}


def show(command: str, result: Result, console: Console | None = None) -> None:
    console = console or Console()
    if command in VERDICTS:
        console.print(Text(VERDICTS[command](result), style="bold"))
    plain = {name: value for name, value in result.items() if not isinstance(value, Mapping | list | tuple)}
    if plain:
        console.print(_facts(plain))
    for name, value in result.items():
        if isinstance(value, Mapping) and value:
            console.print(_facts({key: _cell(inner) for key, inner in value.items()}, name))
        elif isinstance(value, Sequence) and not isinstance(value, str) and value:
            console.print(_rows(name, value))


def _facts(facts: Mapping[str, Any], title: str | None = None) -> Table:
    table = Table(title=title, show_header=False, box=None, title_justify="left", title_style="bold")
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in list(facts.items())[: 2 * MOST_ROWS]:
        table.add_row(Text(name), Text(_cell(value)))
    return table


def _rows(name: str, rows: Sequence[Any]) -> Table:
    more = f", {MOST_ROWS} of {len(rows)}" if len(rows) > MOST_ROWS else ""
    table = Table(title=f"{name}{more}", box=None, title_justify="left", title_style="bold", header_style="dim")
    if all(isinstance(row, Mapping) for row in rows):
        columns = list(dict.fromkeys(key for row in rows for key in row))[:MOST_COLUMNS]
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows[:MOST_ROWS]:
            table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    else:
        table.show_header = False
        table.add_column()
        for row in rows[:MOST_ROWS]:
            table.add_row(Text(_cell(row)))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def _instead(result: Result) -> str:
    return f", in place of {result['before']}" if result.get("before") else ""


def _because(result: Result) -> str:
    return f", {result['reason']}" if result.get("reason") else ""
