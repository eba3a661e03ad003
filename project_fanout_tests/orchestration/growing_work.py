"""A list of records that breaks off and, when it is read again, has grown."""

from collections.abc import Iterator
from pathlib import Path

from project_fanout.engine import Record, Unit
from project_fanout_tests.waiting import wait_until


def find_records(*, folder: str) -> Iterator[Record]:
    """Yield record "same" and record "grows"; break off when their units have run, and yield more next time."""
    marks = Path(folder)
    is_first = not (marks / "broke off").exists()
    yield Record("same", [Unit("a", 1)])
    yield Record("changed", [Unit("b", 1 if is_first else 2)])
    yield Record("grows", [Unit(name, 1) for name in ("c" if is_first else "cd")])
    if is_first:
        wait_until(lambda: len(list(marks.glob("done *"))) >= 3, "the units have run", 60)
        (marks / "broke off").touch()
        raise ConnectionError("the list broke off")
    yield Record("new", [Unit("e", 1)])


def leave_mark(unit: Unit, *, folder: str) -> int:
    """Add a line to the unit's journal and return the payload."""
    with (Path(folder) / f"done {unit.key}").open("a") as journal:
        journal.write(f"{unit.payload}\n")
    return int(unit.payload)
