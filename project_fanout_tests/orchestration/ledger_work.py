"""A records function and a stage whose units leave a mark each time they run."""

import time
from collections.abc import Iterator
from pathlib import Path

from project_fanout.engine import Record, Unit, never_reused, reused_if
from project_fanout_tests.waiting import wait_until


def letters(*, last: str = "f") -> Iterator[Record]:
    """Yield two records of three letters."""
    yield Record("first", [Unit(str(index), letter) for index, letter in enumerate("abc")])
    yield Record("second", [Unit(str(index), letter) for index, letter in enumerate(f"de{last}")])


def counted(unit: Unit, *, folder: str, upper: bool = False, size: int = 1, meet: bool = False) -> str:
    """Leave a mark and return the letter; with *meet* the second half waits for the file `go on`."""
    marks = Path(folder)
    if meet and unit.payload in "def":
        wait_until((marks / "go on").exists, "somebody says to go on", 60)
    (marks / f"{time.time_ns()} {unit.key}").touch()
    return str(unit.payload.upper() if upper else unit.payload) * size


@never_reused
def counted_each_time(unit: Unit, *, folder: str) -> str:
    """Leave a mark, in each run anew."""
    return counted(unit, folder=folder)


def _is_there(written: dict[str, str]) -> bool:
    return Path(written["path"]).read_text() == written["text"]


@reused_if(_is_there)
def writes_a_file(unit: Unit, *, folder: str, files: str) -> dict[str, str]:
    """Leave a mark, and write the letter to a file that the result names."""
    path = Path(files) / unit.key
    path.write_text(counted(unit, folder=folder))
    return {"path": str(path), "text": path.read_text()}
