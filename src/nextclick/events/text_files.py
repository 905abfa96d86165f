"""Opens text as people have it: compressed, in any encoding, with any line ends; what comes out is UTF-8 for DuckDB."""

from __future__ import annotations

import codecs
import csv
import io
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

import pyarrow as pa
from charset_normalizer import from_bytes

from nextclick.errors import InputError

COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".zip": "zip"}
CHUNK_BYTES = 16 * 2**20
FIRST_ROWS = 5
HEAD_BYTES = 2**20  # in which the first row ends
MARKS = (  # of the byte order, longest first: that of UTF-32 begins like that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# a guess from few letters is one of these, since many encodings fit any bytes
LIKELY = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "shift_jis", "gb18030", "big5", "euc_kr", "utf_16"]

LATIN = ("cp1252", "cp1250", "cp1254")


class EncodingError(InputError):
    """A text file is not in UTF-8. looks: the encoding that its text looks like. row: one of its rows, read so."""

    def __init__(self, message: str, looks: str, row: str) -> None:
        super().__init__(message)
        self.looks, self.row = looks, row


def endings(path: Path) -> tuple[str, str]:
    """The endings of a file's name in lower case, that of its format and that of its compression, such as .csv and
    .gz; empty where there is none."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSED else ""
    return (suffixes[-1] if suffixes else ""), packed


def stem(path: Path) -> str:
    """A file's name without the endings of its format and compression."""
    name = path.name
    for ending in reversed(endings(path)):
        name = name[: len(name) - len(ending)]
    return name


def as_utf8(path: Path, encoding: str, scratch: Path) -> Path:
    """The path of a text file's content in UTF-8, unpacked and with one kind of line end: the file itself, or a copy in
    the folder `scratch`.

    A byte order mark is believed before `encoding`. Raises InputError if the file cannot be read or unpacked, is empty,
    or is not in the encoding.
    """
    try:
        plain = _unpacked(path, scratch)
        with plain.open("rb") as file:
            head = file.read(4)
        if not head:
            raise InputError(f"{path}: is empty; expected rows of events")
        mark = next((name for bytes_, name in MARKS if head.startswith(bytes_)), None)
        encoding = mark or codecs.lookup(encoding).name
        if encoding in ("utf-8", "utf-8-sig") and _one_line_end(plain):
            return plain
        return _copied(path, plain, encoding, scratch)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def first_row(path: Path, source: Path, separator: str, quote: str = '"') -> list[str]:
    """The cells of the first row of a UTF-8 text file. source: the file that messages name. Raises InputError if the
    row is not UTF-8, or there is none."""
    return first_rows(path, source, separator, quote)[0]


def first_rows(path: Path, source: Path, separator: str, quote: str = '"') -> list[list[str]]:
    """The cells of the first rows of a text file; see `first_row`."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    lines = io.StringIO(head.decode("utf-8-sig", errors="replace"), newline="")
    if len(separator) > 1:
        rows: Iterator[list[str]] = (line.rstrip("\r\n").split(separator) for line in lines)
    elif quote:
        rows = csv.reader(lines, delimiter=separator, quotechar=quote)
    else:
        rows = csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE)
    try:
        found = list(islice((row for row in rows if any(row)), FIRST_ROWS))
    except csv.Error as error:
        raise InputError(f"{source}: row 1: cannot be cut into cells: {error}") from error
    if not found:
        raise InputError(f"{source}: holds no rows; expected rows of events")
    if any("\ufffd" in cell for cell in found[0]):
        raise not_utf8(source, path, 1)
    return [[cell.strip() for cell in row] for row in found]


def leading_blank_lines(path: Path) -> int:
    """How many lines of a text file are blank before the first that is not."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES).removeprefix(codecs.BOM_UTF8)
    return head[: len(head) - len(head.lstrip())].count(b"\n")


def first_bad_row(path: Path) -> int | None:
    """The number of the first line that is not UTF-8, None if all are."""
    with path.open("rb") as file:
        for number, row in enumerate(file, 1):
            try:
                row.decode()
            except UnicodeDecodeError:
                return number
    return None


def not_utf8(source: Path, path: Path, line: int) -> EncodingError:
    """The error of a text file whose row `line` is not UTF-8, with the encoding that its text looks like."""
    with path.open("rb") as file:
        rows = [row for row in _rows(file) if not row.isascii()]
    bad = [row for row in rows if not _is_utf8(row)]
    if len(bad) < len(rows) / 2:
        return EncodingError(
            f"{source}: row {line} has bytes that are not UTF-8, as the rest of the file is: mend that row, or set "
            "ingest.encoding if you know that the file has another",
            "",
            "",
        )
    odd = b"".join(bad)[:CHUNK_BYTES]
    looks = _encoding_of(odd)
    row = next((row for row in odd.splitlines() if not row.isascii()), b"").decode(looks, errors="replace")
    return EncodingError(
        f"{source}: row {line} is not UTF-8 text; it looks like {looks}: set ingest.encoding: {looks}, "
        "or the encoding that you know it has",
        looks,
        row.strip(),
    )


def _encoding_of(text: bytes) -> str:
    """The encoding that text looks like: of those in which it is as likely, the most frequent one."""
    guesses = list(from_bytes(text, cp_isolation=LIKELY))
    if not guesses:
        return LIKELY[0]
    best = min((guess.chaos, -guess.coherence) for guess in guesses)
    likely = {
        name for guess in guesses if (guess.chaos, -guess.coherence) == best for name in guess.could_be_from_charset
    }
    words = b"".join(word for word in re.findall(rb"[A-Za-z\x80-\xff]+", text) if not word.isascii())
    foreign = sum(byte > 127 for byte in words) > len(words) / 2
    # in Latin script few letters of a word have accents
    others = likely - set(LATIN) if foreign else set()
    return next(name for name in LIKELY if name in (others or likely))


def _is_utf8(row: bytes) -> bool:
    try:
        row.decode()
    except UnicodeDecodeError:
        return False
    return True


def _rows(file: IO[bytes]) -> Iterator[bytes]:
    """The lines up to some that are not ASCII, at most CHUNK_BYTES."""
    found = 0
    for row in file:
        yield row
        found += not row.isascii()
        if found > 200:
            return


def _unpacked(path: Path, scratch: Path) -> Path:
    kind = COMPRESSED.get(endings(path)[1])
    if kind is None:
        return path
    plain = scratch / f"{len(list(scratch.iterdir()))}-unpacked"
    with plain.open("wb") as out, unpacking(path) as packed:
        shutil.copyfileobj(packed, out, CHUNK_BYTES)
    return plain


@contextmanager
def unpacking(path: Path) -> Iterator[IO[bytes]]:
    """A file's bytes, unpacked if its name says that it is packed. Raises InputError if it cannot be unpacked."""
    kind = COMPRESSED.get(endings(path)[1])
    try:
        with _opened(path, kind) as file:
            yield file
    # RuntimeError: a zip that is encrypted, or packed in a way that Python does not know
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise InputError(f"{path}: cannot be unpacked as {kind}: {error}") from error


@contextmanager
def _opened(path: Path, kind: str | None) -> Iterator[IO[bytes]]:
    if kind is None:
        with path.open("rb") as plain:
            yield plain
        return
    if kind != "zip":
        with pa.input_stream(str(path), compression=kind) as packed:
            yield packed
        return
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
        if len(names) != 1:
            held = ", ".join(names[:5]) or "no file"
            raise InputError(f"{path}: expected one file in it, found {held}; unpack it and name the folder")
        with archive.open(names[0]) as packed:
            yield packed


def _one_line_end(plain: Path) -> bool:
    """Whether all lines end in LF, or all in CR LF."""
    returns = pairs = feeds = 0
    last = b""
    with plain.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            joined = last + chunk  # a pair may lie across two chunks
            returns += chunk.count(b"\r")
            pairs += joined.count(b"\r\n") if returns else 0
            # most files have no CR: there one look is enough
            feeds += chunk.count(b"\n") if returns else b"\n" in chunk
            last = chunk[-1:]
    return not returns or returns == pairs == feeds


def _copied(path: Path, plain: Path, encoding: str, scratch: Path) -> Path:
    copy = scratch / f"{len(list(scratch.iterdir()))}-utf8"
    lines = 0
    try:
        with plain.open(encoding=encoding) as text, copy.open("w", encoding="utf-8", newline="\n") as out:
            while chunk := text.read(CHUNK_BYTES):
                lines += chunk.count("\n")
                out.write(chunk)
    except UnicodeError as error:
        if encoding in ("utf-8", "utf-8-sig"):
            raise not_utf8(path, plain, lines + 1) from error
        raise InputError(f"{path}: is not {encoding} text after row {lines}: {error}; see ingest.encoding") from error
    return copy
