"""Records that are found only when the one before has been worked on; a stage that leaves a mark."""

import time
from collections.abc import Iterator
from pathlib import Path

from project_fanout.engine import Record, Unit


def find_records(*, marks: str, records: int = 3) -> Iterator[Record]:
    """Yield each record only after a unit of the one before has ended; give up after a minute."""
    for number in range(records):
        if number:
            wait_for(Path(marks) / f"unit of record {number - 1}")
        yield Record(f"record {number}", [Unit("unit", {"record": number})])


def leave_mark(unit: Unit, *, marks: str) -> dict[str, int]:
    """Leave a file that says whose unit has run."""
    (Path(marks) / f"unit of record {unit.payload['record']}").touch()
    return {"record": unit.payload["record"]}


def wait_for(path: Path, limit_s: float = 60) -> None:
    """Return when *path* exists; raise TimeoutError if it does not in time."""
    give_up_at = time.monotonic() + limit_s
    while not path.exists():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"waited {limit_s} s in vain for {path.name}")
        time.sleep(0.01)
