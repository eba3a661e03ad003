"""Markdown tables in an event's metadata."""

import re
from collections.abc import Iterable, Sequence

import dagster as dg
import pandas as pd

from project_fanout.common import one_line

_LONGEST = 200  # characters of a cell
_DIGITS = 3
# What Markdown takes for more than itself within a line. An underscore between letters it does not.
_MARKUP = re.compile(r"[\\`*\[\]<&|~$]|(?<![^\W_])_|_(?![^\W_])")
_MANY = 1000  # from there on a number has no decimals


def markdown_rows(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    longest_cell: int = _LONGEST,
    longest: int | None = None,
) -> dg.MarkdownMetadataValue:
    """Return *rows* as a Markdown table.

    Args:
        columns: names of the columns.
        rows: the cells of each; a cell becomes one line, floats have three significant digits.
        longest_cell: most characters of a cell.
        longest: most characters of the table; rows that do not fit are counted below it. None for any.
    """
    head, *lines = (
        f"| {' | '.join(_cell(each, longest_cell) for each in line)} |"
        for line in (columns, ["---"] * len(columns), *rows)
    )
    shown = len(lines)
    table = "\n".join([head, *lines])
    while longest is not None and shown > 2 and len(table) > longest:  # the line below the head, and a row
        shown -= 1
        table = "\n".join([head, *lines[:shown], "", f"and {len(lines) - shown} more"])
    return dg.MetadataValue.md(table)


def markdown_table(frame: pd.DataFrame, most_rows: int = 20) -> dg.MarkdownMetadataValue:
    """Return the first rows of *frame* as a Markdown table, and how many more there are."""
    if frame.empty:
        return dg.MetadataValue.md("none")
    shown = frame.head(most_rows).itertuples(index=False, name=None)
    table = markdown_rows([str(column) for column in frame.columns], shown)
    more = f"\n\nand {len(frame) - most_rows} more" if len(frame) > most_rows else ""
    return dg.MetadataValue.md(f"{table.value}{more}")


def as_markdown(text: str) -> str:
    """Return what Markdown shows as *text*, of one line.

    A name or a server's answer may hold a pipe, which would end a table's cell, or HTML, which the UI would leave out.
    """
    return _MARKUP.sub(r"\\\g<0>", text)


def _cell(value: object, longest: int) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= _MANY else f"{value:.{_DIGITS}g}"
    return as_markdown(one_line(str(value), longest))
