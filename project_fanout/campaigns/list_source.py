"""The file that a list of recipients is made from: CSV or Parquet, as a query that DuckDB runs."""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from project_fanout.campaigns.errors import CampaignError
from project_fanout.campaigns.plain_csv import plain_copy

_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class ListSource:
    """What a list is made from.

    Args:
        query: SQL for all its rows and columns.
        rows: how many that are, not counted by reading them with this query.
    """

    query: str
    rows: int


@contextmanager
def opened_source(path: Path, folder: Path) -> Iterator[ListSource]:
    """Give the rows and columns of the file at *path*; those of a CSV file are in a copy in *folder* meanwhile.

    Raises:
        CampaignError: it is of another kind, or a CSV file that cannot be read.
        duckdb.Error: it is no Parquet file.
    """
    kind = path.suffix.lower()
    if kind == ".csv":
        copy = folder / f"{uuid.uuid4().hex}.csv.building"
        try:
            yield _csv_source(path, copy)
        finally:
            copy.unlink(missing_ok=True)
    elif kind == ".parquet":
        yield _parquet_source(path)
    else:
        raise CampaignError(
            f"The recipients' file {path} is {path.suffix or 'of no kind'}, accepted: .csv, .parquet."
        )


def _csv_source(path: Path, copy: Path) -> ListSource:
    plain = plain_copy(path, copy)
    # All text: a postcode must keep its leading zero.
    columns = ", ".join(f"{_text(name)}: 'VARCHAR'" for name in plain.names)
    # All of it said: what is left to DuckDB it guesses, a line end also from within quotes.
    query = (
        f"select * from read_csv({_file(copy)}, auto_detect = false, hive_partitioning = false, header = false, "
        f"""delim = ',', quote = '"', escape = '"', new_line = '\\n', columns = {{{columns}}})"""
    )  # quoted
    return ListSource(query, plain.rows)


def _parquet_source(path: Path) -> ListSource:
    with duckdb.connect() as database:
        counted = database.execute(
            f"select num_rows from parquet_file_metadata({_file(path)})"
        ).fetchone()  # quoted
    assert counted is not None
    return ListSource(
        f"select * from read_parquet({_file(path)}, hive_partitioning = false)", counted[0]
    )  # quoted


def _file(path: Path) -> str:
    """Return what stands for the one file at *path* in SQL: DuckDB would read all that `[1]` or `*` can stand for."""
    return _text(_WILDCARD.sub(lambda match: f"[{match[0]}]", str(path)))


def _text(text: str) -> str:
    """Return *text* as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
