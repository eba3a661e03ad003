"""The file that a list of recipients is made from: CSV or Parquet, as a query that DuckDB runs."""

import csv
import re
from pathlib import Path

from project_fanout.campaigns.errors import CampaignError

_DELIMITERS = ",;\t|"
_QUOTED = re.compile(r'"[^"]*"')
_WILDCARD = re.compile(r"[*?\[]")


def source_query(path: Path) -> str:
    """Return the query for all rows and columns of the file at *path*.

    Nothing about a CSV file is guessed from a sample of its rows, which a later row may not be like: its
    first line names the columns and tells the delimiter, and quotes are double ones.

    Raises:
        CampaignError: it is of another kind, or its first line does not name the columns.
    """
    kind = path.suffix.lower()
    if kind == ".csv":
        return _csv_query(path)
    if kind == ".parquet":
        return f"select * from read_parquet({_file(path)}, hive_partitioning = false)"  # quoted
    raise CampaignError(
        f"The recipients' file {path} is {path.suffix or 'of no kind'}, accepted: .csv, .parquet."
    )


def _csv_query(path: Path) -> str:
    delimiter, names = _header(path)
    # All text: a postcode must keep its leading zero.
    columns = ", ".join(f"{_text(name)}: 'VARCHAR'" for name in names)
    return (
        f"select * from read_csv({_file(path)}, auto_detect = false, hive_partitioning = false, header = true, "
        f"""delim = {_text(delimiter)}, quote = '"', escape = '"', columns = {{{columns}}})"""
    )  # all of it quoted


def _header(path: Path) -> tuple[str, list[str]]:
    """Return the delimiter and the names of the columns; one without a name is named by its place."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            unquoted = _QUOTED.sub("", file.readline())
            delimiter = max(_DELIMITERS, key=unquoted.count)
            file.seek(0)
            found = next(csv.reader(file, delimiter=delimiter), [])
    except UnicodeDecodeError:
        raise CampaignError(
            f"The recipients' file {path} cannot be read: it is not UTF-8. Save it as UTF-8."
        ) from None
    except (OSError, csv.Error) as error:
        raise CampaignError(f"The recipients' file {path} cannot be read: {error}.") from None
    names = [name.strip() or f"column{place}" for place, name in enumerate(found, start=1)]
    if not any(name.strip() for name in found):
        raise CampaignError(
            f"The recipients' file {path} has an empty first line: it has to name the columns."
        )
    lower = [name.lower() for name in names]
    if twice := [name for name in names if lower.count(name.lower()) > 1]:
        raise CampaignError(
            f"The recipients' file {path} names several columns {' and '.join(twice)}: rename all but one."
        )
    return delimiter, names


def _file(path: Path) -> str:
    """Return what stands for the one file at *path* in SQL: DuckDB would read all that `[1]` or `*` can stand for."""
    return _text(_WILDCARD.sub(lambda match: f"[{match[0]}]", str(path)))


def _text(text: str) -> str:
    """Return *text* as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
