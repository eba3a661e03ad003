"""Records and stages of the fault tests; each unit leaves a line on disk, and a run can be told to be killed.

The folder is named by an environment variable and not by a param, so that it can be copied together with
the Dagster home without a unit becoming another one.
"""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from project_fanout.engine import Fanout, Record, Unit
from project_fanout_tests.waiting import wait_until

FOLDER = "PROJECT_FANOUT_FAULTS"
RECORDS, UNITS, CHILDREN = 8, 2, 2
#: Half of the units of the last stage.
HALF = RECORDS * UNITS * CHILDREN // 2


def folder() -> Path:
    """Return the folder of this test."""
    return Path(os.environ[FOLDER])


def note(line: str) -> None:
    """Append *line* to the journal in one write, which processes may do at once."""
    fd = os.open(folder() / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, f"{time.time()} {line}\n".encode())
    os.close(fd)


def journal(where: Path, verb: str) -> list[tuple[str, float]]:
    """Return what has been noted under *verb*: which unit, and when."""
    path = where / "journal"
    lines = [line.split(" ", 2) for line in path.read_text().splitlines()] if path.exists() else []
    return [(unit, float(at)) for at, found, unit in lines if found == verb]


def half_done(where: Path) -> bool:
    """Tell whether half of the last stage's units have ended, the latest of them more than 1 s ago."""
    squared = journal(where, "squared")
    return len(squared) >= HALF and squared[-1][1] < time.time() - 1


def die_if_told(where: str) -> None:
    """End this process as the out-of-memory killer does, if the file `kill <where>` is there; once."""
    order = folder() / f"kill {where}"
    if order.exists():
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def numbered_records() -> Iterator[Record]:
    """Yield the records; may be killed when half of them are out and their units have ended."""
    (folder() / "pid").write_text(str(os.getpid()))
    for number in range(RECORDS):
        if number == RECORDS // 2 and (folder() / "kill trigger").exists():
            wait_until(lambda: len(journal(folder(), "squared")) >= HALF, "half of the units have ended", 120)
            die_if_told("trigger")
        yield Record(f"record {number}", [Unit(f"{number}.{unit}", number) for unit in range(UNITS)])


def split(unit: Unit) -> Fanout:
    """Fan out into children."""
    note(f"split {unit.key}")
    return Fanout([Unit(f"{unit.key}.{child}", unit.payload + child) for child in range(CHILDREN)])


def square(unit: Unit) -> dict[str, Any]:
    """Return the payload's square; once half of the work is done, wait while the file `hold` is there."""
    note(f"begun {unit.key}")
    if len(journal(folder(), "squared")) >= HALF:
        wait_until(lambda: not (folder() / "hold").exists(), "the hold is over", 120)
    note(f"squared {unit.key}")
    return {"square": unit.payload**2}
