"""Guesses which column is which field, by names and by values; asks where it cannot know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import duckdb

from nextclick.errors import InputError
from nextclick.events.look.column_names import STRONG, is_view, key, keys, order_of_types, rank, says_nothing
from nextclick.events.look.samples import Column, share_of_short, share_that, type_counts
from nextclick.events.look.time_formats import day_first, time_formats
from nextclick.events.schema import ITEM_FIELDS
from nextclick.events.values import NOBODY, price_of

MOST_TYPES = 50
FEW_VALUES = 20  # so many, in a thousand rows or more, are no ids
SHOWN_COLUMNS = 12
MEANINGS = {
    "item_id": "the item that somebody looked at",
    "session_id": "the visit",
    "user_id": "the visitor",
    "event_type": "what happened, such as view or purchase",
    "timestamp": "when it happened",
}
# asked where two fit; of other fields the first by the order of the names is taken, and the screen says so
ASKED = tuple(MEANINGS)


class Question(InputError):  # noqa: N818 - it is one, and no fault
    """What a person has to decide, with the choices and how to answer."""


@dataclass
class Guess:
    """columns: their columns by our names, also where the two are the same. settings: further keys of the section
    `ingest`. notes: sentences on what is uncertain."""

    columns: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def guess(
    database: duckdb.DuckDBPyConnection,
    source: str,
    columns: list[Column],
    answers: dict[str, str],
    given: dict[str, Any],
) -> Guess:
    """The mapping of the columns of the table `sample`.

    source: how a question names the data. answers: columns that a person named, by our field; empty for one to leave
    out. given: settings that a person named. Raises Question where two columns fit as well, or none does.
    """
    for name, theirs in answers.items():
        if not theirs and any(column.name == name for column in columns):
            raise InputError(f"{source}: its column {name} has our own name, so ingest reads it: name another one")
    guesser = _Guesser(database, source, columns, answers)
    guesser.find_time(given)
    for name in ("item_id", "session_id", "user_id"):
        guesser.find_by_name(name)
    guesser.find_ids_by_values()
    guesser.find_event_type(given)
    guesser.find_by_name("position")
    guesser.require_all()
    for name in ("event_id", *ITEM_FIELDS[1:]):
        guesser.find_by_name(name)
    found = guesser.found
    if "event_type" in found and "event_types" not in given:
        guesser.guess.settings["event_types"] = guesser.types()
    guesser.read_prices(given)
    guesser.guess.columns = {name: found[name].name for name in STRONG if name in found}
    return guesser.guess


def guess_attributes(
    database: duckdb.DuckDBPyConnection, source: str, columns: list[Column], known: Guess, given: dict[str, Any]
) -> None:
    """Add to a guess the attributes that a table of items in `sample` has, by names that the events do not have."""
    taken = {name: "" for name in (*STRONG, *ITEM_FIELDS) if name not in ITEM_FIELDS[1:] or name in known.columns}
    guesser = _Guesser(database, source, columns, taken)
    for name in ITEM_FIELDS[1:]:
        guesser.find_by_name(name)
    guesser.read_prices({**known.settings, **given})
    known.columns |= {name: column.name for name, column in guesser.found.items()}
    known.settings |= guesser.guess.settings
    known.notes += guesser.guess.notes


class _Guesser:
    def __init__(
        self, database: duckdb.DuckDBPyConnection, source: str, columns: list[Column], answers: dict[str, str]
    ) -> None:
        self.database, self.source, self.columns, self.answers = database, source, columns, answers
        self.guess = Guess()
        self._formats: dict[str, list[str]] = {}
        by_name = {column.name: column for column in columns}
        for theirs in answers.values():
            if theirs and theirs not in by_name:
                raise InputError(f"{source}: no column {theirs}; it has {', '.join(by_name)}")
        self.found = {name: by_name[theirs] for name, theirs in answers.items() if theirs}

    def find_by_name(self, name: str, weak: bool = True) -> None:
        """Take the column whose name fits a field best; ask if two do."""
        if name in self.answers or name in self.found:
            return
        ranked = [(rank(name, column.name), column) for column in self._free()]
        fitting = [(at, column) for at, column in ranked if at is not None and self._fits(name, column, at)]
        fitting = [(at, column) for at, column in fitting if weak or at < 3]
        if name == "session_id" and "user_id" not in self.answers and self._has("user_id"):
            fitting = [(at, column) for at, column in fitting if at < 3]  # a basket is one, only if users are unknown
        if not fitting:
            return
        best = min(at for at, _ in fitting)
        if best == 0 and fitting[0][1].filled < 0.5 and any(at == 1 for at, _ in fitting):
            best = 1  # a column of ours that is mostly empty is not surely meant
        self._take(name, [column for at, column in fitting if at == best or (best == 1 and at == 0)])

    def find_time(self, given: dict[str, Any]) -> None:
        self.find_by_name("timestamp")
        if "timestamp" not in self.found and "timestamp" not in self.answers:
            unknown = [column for column in self._free() if not self._is_known(column)]
            fitting = [column for column in unknown if self._fits("timestamp", column, 4)]
            # a whole number in a column with a name of its own may be anything
            sure = [one for one in fitting if one.timed or one.numeric < 0.5 or says_nothing(one.name)]
            if sure or len(fitting) > 1:
                self._take("timestamp", sure or fitting, by_values=True)
        if not self._has("timestamp") and not self._has("position"):
            # values that cannot be read do not make another column the time: one asks how they are written
            named = [column for column in self._free() if rank("timestamp", column.name) in (0, 1)]
            if named:
                self.found["timestamp"] = named[0]
        column = self.found.get("timestamp")
        if column is not None and column.daily:
            self.guess.notes.append(
                f"the times in column {column.name} are days without a time of day, so the file's order decides within "
                "a day: put date and time into one column if another one has the time"
            )
        if column is None or column.timed or "timestamp_format" in given or column.moments >= 0.8:
            return
        formats = self._formats_of(column)
        if len(formats) > 1:
            either = " or ".join(f"--set timestamp_format='{one}' for {day_first(one)}" for one in formats)
            raise Question(
                f"{self.source}: do the times in column {column.name} have the day or the month first? Both fit all "
                f"values, such as {column.shown}\nAnswer with {either}"
            )
        if not formats and (column.moments < 0.5 if "timestamp" not in self.answers else not column.moments):
            raise Question(
                f"{self.source}: how are the times in column {column.name} written? Its values are such as "
                f"{column.shown}\nAnswer with --set timestamp_format=..., in the letters of strptime such as "
                "'%d/%m/%Y %H:%M', or name another column with --column timestamp=..."
            )
        if formats:
            self.guess.settings["timestamp_format"] = formats[0]

    def find_ids_by_values(self) -> None:
        """Tell sessions, users and items apart by how long their rows lie apart, in columns whose names say nothing."""
        unknown = [one for one in self._free() if says_nothing(one.name) and not self._is_known(one)]
        ids = [one for one in unknown if self._fits("item_id", one, 4) and not self._is_type(one)]
        ids = [one for one in ids if not one.unique and (one.distinct > FEW_VALUES or one.rows < 1000)]
        if not ids:
            return
        short = {one.name: share_of_short(self.database, one.alias, self._moment()) for one in ids}
        visits = [one for one in ids if (short[one.name] or 0) >= 0.9]
        others = [one for one in ids if short[one.name] is not None and one not in visits]
        known = sum(short[one.name] is not None for one in ids) == len(ids)
        if known and not self._has("session_id") and len(visits) == 1:
            self._take("session_id", visits, by_values=True)
        if (
            known
            and not self._has("item_id")
            and len(others) == 1
            and (self._has("session_id") or self._has("user_id"))
        ):
            self._take("item_id", others, by_values=True)
        left = [one for one in ids if one not in self.found.values()]
        told = "item_id" in self.found and not self._has("session_id") and not self._has("user_id")
        if told and len(left) == 1 and short[left[0].name] is not None:
            self._take("user_id", left, by_values=True)

    def find_event_type(self, given: dict[str, Any]) -> None:
        self.find_by_name("event_type")
        if self._has("event_type"):
            return
        typed = [column for column in self._free() if not self._is_known(column) and self._is_type(column)]
        if typed:
            self._take("event_type", typed, by_values=True)

    def require_all(self) -> None:
        """Ask for what ingest cannot do without."""
        if "item_id" not in self.found:
            self._ask("item_id", self._choices("item_id"), "No column's name says it")
        if not {"session_id", "user_id"} & self.found.keys():
            hint = "--column session_id=..., or user_id=... for the visitor, whose events are then cut into visits"
            why = "No column's name says it, nor which is the visitor"
            if not {"timestamp", "position"} & self.found.keys():
                why += ", nor when anything happened: perhaps this file describes items, and another holds the events"
            self._ask("session_id", self._choices("item_id"), why, hint)
        if not {"timestamp", "position"} & self.found.keys():
            hint = "--column timestamp=..., or position=... where only the order of the events is known"
            self._ask("timestamp", self._choices("timestamp"), "No column's name says it", hint)

    def types(self) -> list[str]:
        column, item = self.found["event_type"], self.found["item_id"]
        counts = type_counts(self.database, column.alias, item.alias)
        counts = {name: times for name, times in counts.items() if name not in NOBODY}
        ordered = order_of_types(counts) or ["view"]
        if column.filled < 1 and not is_view(ordered[0]):
            self.guess.notes.append(
                "some rows do not tell their event type: ingest takes those of JSON lines for views"
            )
            return ["view", *ordered]
        if not is_view(ordered[0]):
            self.guess.notes.append(
                f"no event type's name says that somebody looked at an item, so {ordered[0]} comes first, which is "
                "what the model predicts: put another one first in event_types if you want that"
            )
        return ordered

    def read_prices(self, given: dict[str, Any]) -> None:
        """Set the decimal mark where prices are not plain numbers and one mark reads nearly all of them."""
        column = self.found.get("price")
        if column is None or "decimal" in given:
            return
        shares = {
            mark: share_that(self.database, column.alias, f"({price_of('v', mark)}) IS NOT NULL")
            for mark in (None, ".", ",")
        }
        if (shares[None] or 0) >= 0.98:
            return
        marks = [mark for mark in (".", ",") if shares[mark] >= 0.98]
        if len(marks) == 1:
            self.guess.settings["decimal"] = marks[0]
        elif marks:
            raise Question(
                f"{self.source}: which mark stands before the cents in {column.name}, the price? Both fit, in "
                f"{column.shown}\nAnswer with --set decimal=. or --set decimal=,"
            )
        else:
            self.guess.notes.append(
                f"prices in {column.name} are not written in one way, such as {column.shown}: ingest reads those that "
                "are plain numbers; ingest.decimal names the mark before the cents"
            )

    def _has(self, name: str) -> bool:
        """Whether a field is found, or surely will be by its column's name, or shall be left out."""
        if name in self.found or name in self.answers:
            return True
        ranked = ((rank(name, column.name), column) for column in self._free())
        return any(at is not None and at < 3 and self._fits(name, column, at) for at, column in ranked)

    def _free(self) -> list[Column]:
        taken = {column.name for column in self.found.values()}
        return [column for column in self.columns if column.name not in taken and column.rows]

    def _is_known(self, column: Column) -> bool:
        return any(rank(name, column.name) is not None for name in STRONG)

    def _moment(self) -> str | None:
        column = self.found.get("timestamp")
        if column is None:
            return None
        if column.timed:
            return f"TRY_CAST({column.alias} AS BIGINT)"
        if column.moments >= 0.8 or not self._formats_of(column):
            return f"moment_ms({column.alias})"
        one = self._formats_of(column)[0].replace("'", "''")
        return f"epoch_ms(CAST(try_strptime({column.alias}, '{one}') AS TIMESTAMPTZ))"

    def _formats_of(self, column: Column) -> list[str]:
        if column.name not in self._formats:
            self._formats[column.name] = time_formats(self.database, column.alias)
        return self._formats[column.name]

    def _fits(self, name: str, column: Column, at: int) -> bool:
        """Whether the values do not speak against a column whose name fits."""
        if name in ("item_id", "session_id", "user_id", "event_id"):
            is_time = column.timed or (column.moments >= 0.8 and column.numeric < 0.5)
            if is_time or column.fractions > 0.1 or column.objects > 0.5:
                return False
            return name != "event_id" or column.unique
        if name == "event_type":
            return column.distinct <= MOST_TYPES and not column.fractions and (at < 3 or self._is_type(column))
        if name in ("timestamp", "launched"):
            if column.timed or column.moments >= (0.5 if at < 3 else 0.8):
                return True
            # a number with few digits, such as an hour or a count, is no date
            return (column.numeric < 0.5 or len(column.examples[0]) >= 8) and bool(self._formats_of(column))
        if name == "position":
            return column.numeric >= 0.99 and not column.fractions
        if name == "price":
            return column.numeric >= 0.5 or share_that(self.database, column.alias, "regexp_matches(v, '[0-9]')") >= 0.5
        return name != "title" or column.numeric < 0.9

    def _is_type(self, column: Column) -> bool:
        return column.distinct <= MOST_TYPES and column.words >= 0.5

    def _take(self, name: str, fitting: list[Column], by_values: bool = False) -> None:
        if len(fitting) > 1 and name == "timestamp":
            # a day alone does not tell the order within it
            fitting = [column for column in fitting if not column.daily] or fitting
        if len(fitting) > 1 and name == "event_type":
            fitting = [column for column in fitting if self._is_type(column)] or fitting
        if len(fitting) > 1 and self._are_the_same(fitting):
            fitting = fitting[:1]
        if len(fitting) > 1 and name in ASKED:
            self._ask(name, fitting, f"{len(fitting)} columns fit as well")
        names = keys(STRONG[name])
        fitting.sort(key=lambda one: names.index(key(one.name)) if key(one.name) in names else len(names))
        self.found[name] = fitting[0]
        if len(fitting) > 1:
            others = ", ".join(column.name for column in fitting[1:])
            self.guess.notes.append(f"{others} would fit {name} as well as {fitting[0].name}, which was taken")
        if by_values:
            self.guess.notes.append(
                f"the values of {fitting[0].name}, such as {fitting[0].shown}, made it {name}; its name does not say so"
            )

    def _are_the_same(self, columns: list[Column]) -> bool:
        first, *rest = columns
        same = " AND ".join(f"{first.alias} IS NOT DISTINCT FROM {one.alias}" for one in rest)
        return self.database.execute(f"SELECT coalesce(bool_and({same}), false) FROM sample").fetchall()[0][0]

    def _choices(self, name: str) -> list[Column]:
        """The columns among which a person may choose where no name fits."""
        if name == "timestamp":
            return [column for column in self._free() if column.distinct > 1] or self._free()
        fitting = [column for column in self._free() if self._fits(name, column, 4)]
        return [column for column in fitting if column.distinct > 1] or fitting

    def _ask(self, name: str, choices: list[Column], why: str, hint: str = "") -> None:
        head = f"{self.source}: which column is {name}, {MEANINGS[name]}? {why}."
        if not choices:
            others = ", ".join(column.name for column in self.columns)
            raise Question(f"{head} None is left to choose from: its columns are {others}. Is it a file of events?")
        width = max(len(column.name) for column in choices)
        listed = [f"  {column.name:<{width}}  {column.shown}" for column in choices[:SHOWN_COLUMNS]]
        if len(choices) > SHOWN_COLUMNS:
            listed.append(f"  and {', '.join(column.name for column in choices[SHOWN_COLUMNS:])}")
        left_out = f", or --column {name}= to leave it out" if name in ("session_id", "user_id", "event_type") else ""
        answer = hint or f"--column {name}={choices[0].name}, or another{left_out}"
        raise Question("\n".join([head, *listed, f"Answer with {answer}"]))
