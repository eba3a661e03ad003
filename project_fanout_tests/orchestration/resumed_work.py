"""Records and stages of runs that are resumed elsewhere; files in a folder say what is to happen to a unit."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from project_fanout.engine import Record, Unit
from project_fanout.engine.stages import never_reused
from project_fanout_tests.waiting import wait_until


def find_records(*, folder: str, records: int = 2, units: int = 3, first: int = 0) -> Iterator[Record]:
    """Yield records of numbered units, and note which process is the run's."""
    (Path(folder) / "pid").write_text(str(os.getpid()))
    for record in range(records):
        yield Record(f"r{record}", [Unit(f"{record}.{unit}", first + unit) for unit in range(units)])


def work(unit: Unit, *, folder: str) -> int:
    """Leave a line in the journal and return the payload.

    A file `kill <unit>` has the run's process killed in its place, over a second after the last unit has ended,
    a file `fail <unit>` or `fail all` makes it raise.
    """
    place = Path(folder)
    journal = place / "journal"
    if (order := place / f"kill {unit.key}").exists():
        order.unlink()
        if journal.exists():
            wait_until(lambda: time.time() - journal.stat().st_mtime > 1.2, "the outcomes are on disk")
        os.kill(int((place / "pid").read_text()), signal.SIGKILL)
        wait_until(lambda: False, "this worker is ended, too")
    with journal.open("a") as lines:
        lines.write(f"{unit.key}\n")
    if (place / f"fail {unit.key}").exists() or (place / "fail all").exists():
        raise RuntimeError("told to fail")
    return int(unit.payload)


@never_reused
def send(unit: Unit, *, folder: str) -> int:
    """Do the same; the success of an earlier run is not the last word."""
    return work(unit, folder=folder)
