"""Markdown tables in an event's metadata."""

from collections.abc import Iterable, Sequence

import dagster as dg
import pandas as pd

from project_fanout.common import one_line

_LONGEST = 200  # characters of a cell


def markdown_rows(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> dg.MarkdownMetadataValue:
    """Return *rows* as a Markdown table; a cell is one line of at most 200 characters, floats have 4 decimals."""
    lines = [columns, ["---"] * len(columns), *rows]
    return dg.MetadataValue.md("\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines))


def markdown_table(frame: pd.DataFrame, most_rows: int = 20) -> dg.MarkdownMetadataValue:
    """Return the first rows of *frame* as a Markdown table, and how many more there are."""
    if frame.empty:
        return dg.MetadataValue.md("none")
    shown = frame.head(most_rows).itertuples(index=False, name=None)
    table = markdown_rows([str(column) for column in frame.columns], shown)
    more = f"\n\nand {len(frame) - most_rows} more" if len(frame) > most_rows else ""
    return dg.MetadataValue.md(f"{table.value}{more}")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    # A name or a server's answer may hold a pipe or line break, which would end its cell.
    return one_line(str(value), _LONGEST).replace("|", "\\|")
