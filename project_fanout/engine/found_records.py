"""What a records function gives: checked as early as can be."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from project_fanout.engine.errors import InvalidRecordError, TooManyRecordsError
from project_fanout.engine.model import Record
from project_fanout.engine.policy import FanoutPolicy

# How far over `max_records` is counted, for the message: a generator may have no end.
_MOST_COUNTED = 10_000


def checked_records(found: Any, policy: FanoutPolicy) -> Iterable[Record]:
    """Return the records that the records function has found, refusing what is none as early as can be.

    What is a list already is checked whole before the first record is handed on; so is any number of
    records under `max_records`. A generator is checked as it goes, because waiting for its end would
    keep the first record from starting.
    """
    if isinstance(found, (str, bytes, Record, Mapping)) or not hasattr(found, "__iter__"):
        raise InvalidRecordError(
            f"The records function returned {found!r}, a {type(found).__name__}: return a list of "
            "Record(key, units), or yield them."
        )
    checked = _checked_each(found)
    limit = policy.max_records
    if limit is not None:
        within = list(islice(checked, limit))
        if further := sum(1 for _ in islice(checked, _MOST_COUNTED)):
            count = f"{limit + further:,}" if further < _MOST_COUNTED else f"{limit + further:,} or more"
            raise TooManyRecordsError(
                f"There are {count} records, and max_records is {limit}: raise max_records, or have the "
                "records function find fewer. No unit has been started."
            )
        return within
    return list(checked) if isinstance(found, (list, tuple)) else checked


def _checked_each(found: Iterable[Any]) -> Iterator[Record]:
    seen: set[str] = set()
    for record in found:
        if not isinstance(record, Record):
            raise InvalidRecordError(
                f"The records function gave {record!r}, a {type(record).__name__}: return or yield "
                "Record(key, units)."
            )
        if record.key in seen:
            raise InvalidRecordError(
                f"There are two records with the key {record.key!r}: record keys are unique within a fan-out. "
                "Put into the key what tells the two apart, or give one record the units of both."
            )
        seen.add(record.key)
        yield record
