"""How verbs print what they have found: as a table for people, or as JSON for programs."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, TypeVar

import click

_T = TypeVar("_T")
#: The columns of a table, and how to get each of one of its rows.
Columns = Mapping[str, Callable[[_T], object]]


def print_table(found: Sequence[_T], columns: Columns[_T]) -> None:
    """Print a line per thing found, its cells below the names of their columns."""
    table = [list(columns), *([cell(value(one)) for value in columns.values()] for one in found)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    table.insert(1, ["-" * width for width in widths])
    lines = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in table)
    click.echo("\n".join(lines))


def print_json(value: Any) -> None:
    """Print *value* as JSON."""
    click.echo(json.dumps(value, indent=2))


def cell(value: object) -> str:
    """Return *value* as text without what would break the table or steer the terminal: a key may hold anything."""
    text = str(value)
    return text if text.isprintable() else repr(text)[1:-1]


def time_text(seconds: float | None) -> str:
    """Return a time in seconds since 1970 as people write it, "" for none."""
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%SZ}"
