"""Records and a stage whose every start and end is a line on disk; imports no Dagster."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from project_fanout.engine import Record, Unit
from project_fanout_tests.waiting import wait_until

RECORDS, UNITS = 6, 4
HALF = RECORDS * UNITS // 2


def numbered_records() -> Iterator[Record]:
    """Yield the records."""
    for number in range(RECORDS):
        yield Record(f"record {number}", [Unit(f"{number}.{unit}", number) for unit in range(UNITS)])


def square(unit: Unit, *, folder: str) -> dict[str, int]:
    """Return the payload's square; once half of the work is done, wait while the file `hold` is there."""
    where = Path(folder)
    _note(where / "begun", unit.key)
    if (where / "hold").exists() and sum(lines(where / "ended").values()) >= HALF:
        wait_until(lambda: not (where / "hold").exists(), "the hold is over", 300)
    _note(where / "ended", unit.key)
    return {"square": unit.payload**2}


def lines(file: Path) -> Counter[str]:
    """Return how often each line is in *file*."""
    return Counter(file.read_text().splitlines()) if file.exists() else Counter()


def _note(file: Path, line: str) -> None:
    fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, f"{line}\n".encode())
    os.close(fd)
