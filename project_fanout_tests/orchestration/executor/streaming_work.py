"""Records that are found only when the one before has been worked on; a stage that leaves a mark."""

from collections.abc import Iterator
from pathlib import Path

from project_fanout.engine import Record, Unit
from project_fanout_tests.waiting import wait_until


def find_records(*, marks: str, records: int = 3) -> Iterator[Record]:
    """Yield each record only after a unit of the one before has ended; give up after a minute."""
    for number in range(records):
        if number:
            before = f"unit of record {number - 1}"
            wait_until((Path(marks) / before).exists, f"there is {before}", 60)
        yield Record(f"record {number}", [Unit("unit", {"record": number})])


def leave_mark(unit: Unit, *, marks: str) -> dict[str, int]:
    """Leave a file that says whose unit has run."""
    (Path(marks) / f"unit of record {unit.payload['record']}").touch()
    return {"record": unit.payload["record"]}
