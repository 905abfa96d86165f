"""How text becomes an id, a time or a price: macros of SQL, the same for files and live clicks."""

from __future__ import annotations

from collections.abc import Sequence

from nextclick.events.schema import quoted
from nextclick.units import MS_PER_SECOND

LATEST_MS = 4_102_444_800_000  # 2100; a number beyond it is no time, such as the digits of a date
# what databases, pandas and web analytics write for "no value", in the spellings that they use
NOBODY = (
    *("NULL", "Null", "null", "\\N", "nan", "NaN", "NAN", "none", "None", "NONE", "<NA>", "NaT"),
    *("(not set)", "(Not Set)", "(none)", "undefined", "Undefined", "UNDEFINED", "N/A", "[]", "{}"),
)


def macros(nobody: Sequence[str] = (), timestamp_format: str | None = None) -> str:
    """SQL that creates the macros. A connection's time zone is that of texts that name none.

    Cheap tests come first, since most cells pass them: text of as many bytes as characters has no other spaces than
    ASCII's, and no number begins behind the colon.

    cell_text(v): a cell without the spaces around it, null if nothing is left.
    id_text(v): the one spelling of an id: null for nobody's, and a whole number that became a float as a whole number.
    lost_digits(v): whether an id is a float too large to be exact.
    ids_of(v): the ids in a cell, as a list of text: several if the cell holds a JSON or Python list.
    moment_ms(v): UTC milliseconds of seconds to nanoseconds, told apart by their size, or of ISO text or text in
    `timestamp_format`, null if it is none of them. moment_of(v, whole_number(v)): the same, where each is made once.
    ambiguous_zone(v): whether text ends with the name of a zone that means several, such as CST.
    iso_moment_of(v, whole_number(v)): as moment_of, whatever `timestamp_format` is.
    plain_price(v): a price as a number, or null; see `price_of`.
    nobody: further words for it.
    """
    words = ", ".join(quoted(word) for word in (*NOBODY, *nobody))
    text_moment = """coalesce(
        TRY_CAST(v AS TIMESTAMPTZ),
        TRY_CAST(regexp_replace(v, ' (Z|[+-][0-9]{2}(:?[0-9]{2})?)( [A-Z]{2,5})?$', '\\1') AS TIMESTAMPTZ))"""
    moment = f"""CASE
        WHEN whole IS NOT NULL THEN CASE
            WHEN abs(whole) < 100000000000 THEN whole * {MS_PER_SECOND}
            WHEN abs(whole) < 100000000000000 THEN no_later(whole)
            WHEN abs(whole) < 100000000000000000 THEN no_later(whole // 1000)
            ELSE no_later(whole // 1000000) END
        WHEN TRY_CAST(v AS DOUBLE) IS NULL THEN CASE WHEN NOT ambiguous_zone(v) THEN epoch_ms({text_moment}) END
        WHEN contains(lower(v), 'e') OR NOT isfinite(CAST(v AS DOUBLE)) THEN NULL
        WHEN abs(CAST(v AS DOUBLE)) < 1e11 THEN CAST(round(CAST(v AS DOUBLE) * {MS_PER_SECOND}) AS BIGINT)
        WHEN abs(CAST(v AS DOUBLE)) < 1e14 THEN no_later(CAST(CAST(v AS DOUBLE) AS BIGINT))
    END"""
    clear = "([0-9] ?(Z|z|UTC|utc|GMT|gmt|AM|PM|am|pm)|[+-][0-9]{2}(:?[0-9]{2})? [A-Z]+)$"
    ambiguous = f"regexp_matches(v, '[0-9] ?[A-Za-z]+$') AND NOT regexp_matches(v, '{clear}')"
    usual = moment
    if timestamp_format:
        ambiguous = "false"
        moment = f"epoch_ms(CAST(try_strptime(v, {quoted(timestamp_format)}) AS TIMESTAMPTZ))"
    return f"""
        CREATE OR REPLACE MACRO whole_id(v) AS CASE
            WHEN v < ':' AND suffix(v, '0') AND contains(v, '.') AND regexp_full_match(v, '-?[0-9]{{1,15}}\\.0+')
            THEN split_part(v, '.', 1) ELSE v END;
        CREATE OR REPLACE MACRO id_text(v) AS CASE WHEN whole_id(v) IN ({words}) THEN NULL ELSE whole_id(v) END;
        CREATE OR REPLACE MACRO lost_digits(v) AS v < ':' AND (contains(v, '.') OR contains(v, '+') OR contains(v, ','))
            AND regexp_full_match(v, '-?([0-9]{{16,}}\\.0+|[0-9]([.,][0-9]+)?[eE][+][0-9]+|[0-9][.,][0-9]+[eE][0-9]+)');
        CREATE OR REPLACE MACRO json_list(v) AS CASE WHEN json_valid(v) THEN v
            WHEN json_valid(replace(v, '''', '"')) THEN replace(v, '''', '"') ELSE '[]' END;
        CREATE OR REPLACE MACRO ids_of(v) AS CASE WHEN starts_with(v, '[') AND suffix(v, ']')
            THEN coalesce(nullif(from_json(json_list(v), '["VARCHAR"]'), []), [v]) ELSE [v] END;
        CREATE OR REPLACE MACRO ambiguous_zone(v) AS {ambiguous};
        CREATE OR REPLACE MACRO no_later(ms) AS CASE WHEN ms < {LATEST_MS} THEN ms END;
        CREATE OR REPLACE MACRO whole_number(v) AS
            CASE WHEN regexp_full_match(v, '-?[0-9]+') THEN TRY_CAST(v AS BIGINT) END;
        CREATE OR REPLACE MACRO iso_moment_of(v, whole) AS {usual};
        CREATE OR REPLACE MACRO moment_of(v, whole) AS {moment};
        CREATE OR REPLACE MACRO moment_ms(v) AS moment_of(v, whole_number(v));
        CREATE OR REPLACE MACRO cell_text(v) AS
            CASE WHEN v > '!' AND NOT suffix(v, ' ') AND strlen(v) = length(v) THEN v ELSE nullif(trim(v), '') END;
        CREATE OR REPLACE MACRO plain_price(v) AS
            CASE WHEN regexp_full_match(v, '[0-9]+(\\.[0-9]+)?') THEN TRY_CAST(v AS DOUBLE) END;
    """


def price_of(value: str, decimal: str | None) -> str:
    """SQL: a price as a number, or null where the text is none by the one rule that is named.

    decimal: `.` or `,`, the mark before the cents. Currency signs and names, spaces and the other mark, between groups
    of three digits, are then left out. None: only plain numbers, such as 1299.00, are prices, as 1,299 may be either.
    """
    if decimal is None:
        return f"plain_price({value})"
    group = "," if decimal == "." else "."
    bare = f"regexp_replace({value}, '[\\p{{Sc}}\\p{{Z}}\\s]|^[A-Za-z]+|[A-Za-z]+$', '', 'g')"
    whole = f"([0-9]+|[0-9]{{1,3}}([{group}''][0-9]{{3}})+)"
    shape = f"'{whole}([{decimal}][0-9]{{1,4}})?'"
    number = f"replace(regexp_replace({bare}, '[{group}'']', '', 'g'), {quoted(decimal)}, '.')"
    return f"CASE WHEN regexp_full_match({bare}, {shape}) THEN TRY_CAST({number} AS DOUBLE) END"
