"""A CSV file as people export it, copied to one that no two readers read differently."""

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from project_fanout.campaigns.errors import CampaignError

_DELIMITERS = ",;\t|"
# A cell is quoted where a quote is its first character; delimiters and line breaks in it are text.
_CELL = re.compile(r'"(?:[^"]|"")*"|[^,;\t|\r\n]*')
_LONGEST_HEADER = 1 << 20
# The csv module's own limit is 131,072, and a cell may hold a letter's HTML. A quote that is never closed makes
# one cell of the rest of the file, which may be gigabytes.
_LONGEST_CELL = 2_000_000
_LONGEST_SHOWN = 200
# Text that was decoded from UTF-8 has neither character.
_CELL_END, _ROW_END = "\ud800", "\ud801"
_SPACE_BEFORE_QUOTE = re.compile(f'[{_CELL_END}{_ROW_END}] +"[^{_CELL_END}{_ROW_END}]*')
_BLOCK_ROWS = 200
_NUL = "it has a NUL character, so it is not text in UTF-8. Save it as UTF-8."


@dataclass(frozen=True, slots=True)
class PlainCsv:
    """A CSV file in UTF-8 without a header: commas, each cell in quotes, a line feed after each row.

    Args:
        path: where it is.
        names: of the columns; one that had no name is named by its place.
        rows: how many there are.
    """

    path: Path
    names: list[str]
    rows: int


def plain_copy(source: Path, target: Path) -> PlainCsv:
    """Write the rows of the CSV file *source*, as Python's csv module reads them, to the new file *target*.

    Nothing is guessed from a sample of the rows, which a later row may not be like: the first row names the
    columns and tells the delimiter, quotes are double ones, and a row ends at the first CRLF, LF or CR outside
    quotes. Blank lines are no rows.

    Raises:
        CampaignError: *source* cannot be read, is not UTF-8, does not name its columns, or has a row that cannot
            be read as it stands.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    try:
        file = source.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise _unreadable(source, f"{error.strerror}.") from None
    try:
        with file, open(target, "x", encoding="utf-8", newline="", opener=_private) as copy:
            head = file.read(_LONGEST_HEADER)
            if "\0" in head:
                raise _unreadable(source, _NUL)
            delimiter = _delimiter(head)
            file.seek(0)
            # Strict: a quoted cell ends with its quote, and the file does not end within one.
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            rows = _rows(source, reader)
            names = _names(source, next(rows, []))
            count = _write(source, _whole(source, rows, reader, delimiter, len(names)), copy)
    except UnicodeDecodeError:
        raise _unreadable(source, "it is not UTF-8. Save it as UTF-8.") from None
    except OSError as error:
        raise CampaignError(
            f"The recipients' file {source} cannot be copied to {target.parent}: {error.strerror}."
        ) from None
    return PlainCsv(target, names, count)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _delimiter(text: str) -> str:
    """Return the delimiter that is most often outside quotes in the first row of *text*."""
    found = []
    place = 0
    while match := _CELL.match(text, place):
        place = match.end()
        if place == len(text) or text[place] in "\r\n":
            break
        found.append(text[place])
        place += 1
    return max(_DELIMITERS, key=found.count)


def _rows(source: Path, reader: Any) -> Iterator[list[str]]:
    """Yield what *reader* yields, blank lines as empty rows."""
    line = 1
    try:
        for row in reader:
            yield row
            line = reader.line_num + 1
    except csv.Error as error:
        told = str(error)
        if "NUL" in told:  # Python 3.10
            raise _unreadable(source, _NUL) from None
        if "unexpected end" in told or "field larger" in told:
            told = (
                f"it opens a quote that is never closed, or a cell of more than {_LONGEST_CELL:,} characters. Close "
                "the quote, or double one that is part of the text"
            )
        elif "expected after" in told:
            told = "it has text after a closing quote. Double a quote that is part of the text"
        raise _unreadable(source, f"the row that begins in line {line}: {told}.") from None


def _names(source: Path, found: list[str]) -> list[str]:
    if not any(name.strip() for name in found):
        raise CampaignError(
            f"The recipients' file {source} has an empty first line: it has to name the columns."
        )
    names = [name.strip() or f"column{place}" for place, name in enumerate(found, start=1)]
    lower = [name.lower() for name in names]
    if twice := [name for name in names if lower.count(name.lower()) > 1]:
        raise CampaignError(
            f"The recipients' file {source} names several columns {' and '.join(twice)}: rename all but one."
        )
    return names


def _whole(
    source: Path, rows: Iterator[list[str]], reader: Any, delimiter: str, width: int
) -> Iterator[list[str]]:
    """Yield *rows* without blank lines; refuse one that has not as many cells as there are columns."""
    for row in rows:
        if len(row) == width:
            yield row
        elif row:
            raise _unreadable(
                source,
                f"CSV Error on Line: {reader.line_num} Original Line: {delimiter.join(row)[:_LONGEST_SHOWN]} "
                f"Expected Number of Columns: {width} Found: {len(row)}.",
            )


def _write(source: Path, rows: Iterator[list[str]], copy: TextIO) -> int:
    """Write *rows* to *copy* and return how many they were."""
    count = 0
    while block := list(islice(rows, _BLOCK_ROWS)):
        # A block at a time: csv.writer takes twice as long.
        text = _ROW_END.join(map(_CELL_END.join, block))
        if "\0" in text:
            raise _unreadable(source, _NUL)
        if '"' in text:
            if (' "' in text) and (odd := _SPACE_BEFORE_QUOTE.search(_ROW_END + text)):
                raise _unreadable(
                    source,
                    f"a cell begins with a space before a quote: {odd[0][1:_LONGEST_SHOWN]!r}. Remove the space.",
                )
            text = text.replace('"', '""')
        text = text.replace(_CELL_END, '","').replace(_ROW_END, '"\n"')
        copy.write(f'"{text}"\n')
        count += len(block)
    return count


def _unreadable(source: Path, reason: str) -> CampaignError:
    return CampaignError(f"The recipients' file {source} cannot be read: {reason}")
