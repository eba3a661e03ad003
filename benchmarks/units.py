"""Records and units that burn processor time; imports no Dagster, as the module of a stage should not."""

import time
from collections.abc import Iterator
from typing import Any

from project_fanout.engine import Record, Unit


def find_records(*, records: int = 10, units: int = 20, seconds_to_find: float = 0.0) -> Iterator[Record]:
    """Yield *records* records of *units* units, each after *seconds_to_find* of this thread's processor time."""
    for number in range(records):
        burn(seconds_to_find, time.thread_time)
        yield Record(f"record {number}", [Unit(f"unit {index}") for index in range(units)])


def work(unit: Unit, *, seconds: float = 0.02) -> dict[str, Any]:
    """Use *seconds* of processor time; return when the unit ended, in seconds since 1970."""
    burn(seconds, time.process_time)
    return {"ended_at": time.time()}


def burn(seconds: float, clock: Any) -> None:
    """Use *seconds* of processor time as *clock* counts it."""
    end = clock() + seconds
    while clock() < end:
        pass


def burn_one(seconds: float) -> None:
    """Use *seconds* of processor time: what a bare pool runs."""
    burn(seconds, time.process_time)
