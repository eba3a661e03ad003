"""The list of recipients: one immutable DuckDB file, written once and read a page at a time."""

import hashlib
import os
import re
import uuid
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from project_fanout.campaigns.addresses import checked_address
from project_fanout.campaigns.errors import CampaignError, UnfitRecipientError
from project_fanout.campaigns.folders import private_folder
from project_fanout.campaigns.list_source import ListSource, opened_source
from project_fanout.campaigns.rows import RowRange
from project_fanout.campaigns.variables import BUILT_IN
from project_fanout.common import one_line, whole_characters

#: Columns that the list itself adds to those of its source.
ROW, DUPLICATE_OF = "_row", "_duplicate_of"
EMAIL = "email"

# Part of a list's name: another way of building it must not find the files of this one.
_FORMAT = "5"
# DuckDB shows the whole line, which may be megabytes.
_LONGEST_REASON = 400
# What follows is for those who write SQL.
_ADVICE = re.compile(r"\n\s*(?:Possible \w+|Candidate|LINE \d|Hint|file = )|\n\s*\n", re.IGNORECASE)
# One thread and 128 MiB are plenty for a page, and keep a worker small.
_LIMITS: dict[str, str | bool | int | float | list[str]] = {"threads": "1", "memory_limit": "128MiB"}
# Once in a run, and DuckDB holds some 2,000 rows of all columns: 1,000 columns take 300 MiB, 300 take 100.
_BUILDING = {**_LIMITS, "memory_limit": "512MiB"}

_ALL_OF = "select * from recipients"
_GENERATED = """
select
    'reader' || i || '@' || ['mail', 'post', 'letters', 'inbox'][1 + i % 4] || '.example' as email,
    ['Ada', 'Søren', 'Zoë', 'Иван', 'Grace', 'Noor', 'Li', 'Aïcha'][1 + i % 8] || ' '
        || ['Berg', 'Okafor', 'Weiß', 'Hassan', 'O''Neill'][1 + i % 5] as name,
    ['Bonn', 'Århus', 'Kraków', 'Lagos', 'Cork', 'Ōsaka'][1 + i % 6] as city
from range(1, {count} + 1) numbers(i)
"""


@dataclass(frozen=True, slots=True)
class RecipientList:
    """A list that can be read.

    Args:
        path: its DuckDB file, which nobody changes any more.
        rows: how many recipients it has.
        source: the file that it was made from, or "generated".
    """

    path: str
    rows: int
    source: str

    @property
    def all(self) -> RowRange:
        return RowRange(1, self.rows)


@dataclass(frozen=True, slots=True)
class Recipient:
    """One row of a list.

    Args:
        row: its place, from 1.
        email: the address as it stands there, None where there is none.
        duplicate_of: the row that first has the same address, if another has.
        fields: the other columns that are not empty, by name.
    """

    row: int
    email: str | None
    duplicate_of: int | None = None
    fields: dict[str, str] = field(default_factory=dict)


def build_list(
    folder: Path, source: str | None = None, generated: int = 100_000, *, allow_empty: bool = False
) -> RecipientList:
    """Return the list made of a CSV or Parquet file, or a generated one; build it unless it is there.

    Args:
        folder: where lists are kept; made if need be.
        source: a .csv or .parquet file with a column `email`; its other columns are template variables.
            None for a generated list.
        generated: how many recipients to generate.
        allow_empty: whether a list of nobody will do.

    Raises:
        CampaignError: *source* cannot be read, is of another kind, lacks the column or has no rows; or the list
            that was made of it earlier is damaged.
    """
    if source is None:
        name, origin = f"generated-{generated}", "generated"
    else:
        path = Path(whole_characters(source)).expanduser().absolute()
        name, origin = _digest(path), str(path)
    target = folder / f"recipients-{_FORMAT}-{name}.duckdb"
    if not target.exists():
        private_folder(folder)
        opened: AbstractContextManager[ListSource] = (
            nullcontext(ListSource(_GENERATED.format(count=int(generated)), generated))
            if source is None
            else opened_source(path, folder)
        )
        _build(target, opened, origin, allow_empty=allow_empty)
    try:
        with duckdb.connect(str(target), read_only=True, config=_LIMITS) as database:
            rows = _count(database)
    except duckdb.Error as error:
        raise CampaignError(
            f"The list of recipients {target}, made of {origin}, cannot be read: {_reason(error)} Remove it, and it "
            "is made again."
        ) from None
    _check_somebody(rows, origin, allow_empty=allow_empty)
    return RecipientList(str(target), rows, origin)


def read_columns(path: str) -> list[str]:
    """Return the names of the columns that the list at *path* has from its source.

    Raises:
        CampaignError: the list is gone or unreadable.
    """
    try:
        with duckdb.connect(path, read_only=True, config=_LIMITS) as database:
            names = [column[0] for column in database.execute(f"{_ALL_OF} limit 0").description or ()]
    except duckdb.Error as error:
        raise _gone(path, error) from None
    return [name for name in names if name not in (ROW, DUPLICATE_OF)]


def read_rows(path: str, rows: RowRange) -> list[Recipient]:
    """Return these rows of the list at *path*.

    Raises:
        CampaignError: the list is gone or unreadable.
    """
    return _read(path, f"{_ALL_OF} where {ROW} between ? and ?", [rows.first, rows.last])


def read_single_rows(path: str, numbers: Collection[int]) -> list[Recipient]:
    """Return the rows of the list at *path* that have these numbers, in the order of the list.

    Raises:
        CampaignError: the list is gone or unreadable.
    """
    return _read(path, f"{_ALL_OF} where {ROW} in (select unnest(?))", [list(numbers)])


def read_duplicates(path: str, firsts: Collection[int], last: int) -> list[Recipient]:
    """Return the rows up to *last* of the list at *path* that are duplicates of *firsts*, in its order.

    Raises:
        CampaignError: the list is gone or unreadable.
    """
    query = f"{_ALL_OF} where {DUPLICATE_OF} in (select unnest(?)) and {ROW} <= ?"
    return _read(path, query, [list(firsts), last])


def _read(path: str, query: str, values: Sequence[Any]) -> list[Recipient]:
    try:
        with duckdb.connect(path, read_only=True, config=_LIMITS) as database:
            found = database.execute(f"{query} order by {ROW}", values)  # made of our own names
            columns = [column[0] for column in found.description or ()]
            rows = found.fetchall()
    except duckdb.Error as error:
        raise _gone(path, error) from None
    recipients = []
    for cells in rows:
        row = dict(zip(columns, cells, strict=True))
        position, duplicate_of, email = row.pop(ROW), row.pop(DUPLICATE_OF), row.pop(EMAIL)
        filled = {name: str(value) for name, value in row.items() if value is not None}
        recipients.append(Recipient(position, email, duplicate_of, filled))
    return recipients


def _gone(path: str, error: duckdb.Error) -> CampaignError:
    return CampaignError(
        f"The list of recipients {path} cannot be read: {_reason(error)} Materialise `recipients` again."
    )


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256(path.suffix.lower().encode())
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise CampaignError(f"The recipients' file {path} cannot be read: {error.strerror}.") from None
    return digest.hexdigest()[:16]


def _build(
    target: Path, opened: AbstractContextManager[ListSource], origin: str, *, allow_empty: bool
) -> None:
    """Write the list to a file of another name first: half a list is never found."""
    building = target.with_name(f"{target.stem}-{uuid.uuid4().hex}.building")
    try:
        with opened as source, duckdb.connect(str(building), config=_BUILDING) as database:
            names = [row[0] for row in database.execute(f"describe {source.query}").fetchall()]
            _check_columns(names, origin)
            _check_somebody(source.rows, origin, allow_empty=allow_empty)
            # Whatever type a Parquet file gives it: one with empty addresses alone may have none.
            query = f"select * replace ({EMAIL}::varchar as {EMAIL}) from ({source.query})"
            database.create_function("address_key", _address_key, ["VARCHAR"], "VARCHAR")
            # Python only for those whose domain may have two spellings: it is called for each row.
            address = (
                f"case when regexp_matches({EMAIL}, '[^ -~]|(?i:xn--)') then address_key({EMAIL}) "
                f"else lower(trim({EMAIL})) end"
            )
            database.execute(
                f"""
                create table recipients as
                with numbered as (select row_number() over () as {ROW}, * from ({query})),
                keyed as (select *, {address} as _key from numbered)
                select * exclude (_key),
                    case when _key <> '' then nullif(min({ROW}) over (partition by _key), {ROW}) end as {DUPLICATE_OF}
                from keyed order by {ROW}
                """  # made of our own names and of a quoted path
            )
            _check_all(_count(database), source.rows, origin)
        os.replace(building, target)
    except duckdb.Error as error:
        raise CampaignError(f"The recipients' file {origin} cannot be read: {_reason(error)}") from None
    finally:
        building.unlink(missing_ok=True)


def _count(database: duckdb.DuckDBPyConnection) -> int:
    counted = database.execute("select count(*) from recipients").fetchone()
    assert counted is not None
    return int(counted[0])


def _reason(error: duckdb.Error) -> str:
    """Return what DuckDB says, without its advice about options that nobody can give here."""
    told = _ADVICE.split(str(error), maxsplit=1)[0]
    return f"{one_line(told, _LONGEST_REASON).rstrip('.')}."


def _address_key(text: str) -> str:
    """Return the same text for all spellings of one address; an invalid one stays as it is."""
    try:
        return checked_address(text).normalized.lower()
    except UnfitRecipientError:
        return text


def _check_columns(names: list[str], origin: str) -> None:
    if EMAIL not in names:
        raise CampaignError(
            f"The recipients' file {origin} has the columns {', '.join(names)}, but none named {EMAIL}: name the "
            "column with the addresses so."
        )
    if taken := [name for name in names if name in BUILT_IN]:
        raise CampaignError(
            f"The recipients' file {origin} has a column {taken[0]}, a name that templates have for something else: "
            f"rename it, also in the templates, for instance to my_{taken[0]}."
        )
    if taken := [name for name in names if name.lower() in (ROW, DUPLICATE_OF, "_key")]:
        raise CampaignError(
            f"The recipients' file {origin} has a column {taken[0]}, a name that the list itself uses: rename it."
        )


def _check_all(loaded: int, expected: int, origin: str) -> None:
    if loaded != expected:
        raise CampaignError(
            f"The recipients' file {origin} has {expected:,} rows, but the database loaded {loaded:,}, and no campaign "
            "goes to part of its list. This is a fault of project_fanout: please report it, and save the file as "
            "Parquet, or as CSV with other line ends, until it is mended."
        )


def _check_somebody(rows: int, origin: str, *, allow_empty: bool) -> None:
    if rows or allow_empty:
        return
    source = "generated is 0" if origin == "generated" else f"The recipients' file {origin} has no rows"
    raise CampaignError(
        f"{source}, so the campaign would go to nobody. If it may, set allow_empty to true; otherwise check where the "
        "list comes from."
    )
