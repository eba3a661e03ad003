"""Records and stages of assets whose units return more than JSON."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from project_fanout.engine import Record, Unit


def tables(*, count: int = 3, rows: int = 4) -> Iterator[Record]:
    """Yield records of two units; the payload says how many rows to make, as numpy has it."""
    for number in range(count):
        yield Record(
            f"r{number}",
            [Unit(str(unit), {"start": np.int64(10 * number + unit), "rows": rows}) for unit in (0, 1)],
        )


def make_frame(unit: Unit) -> pd.DataFrame:
    """Return a frame, as pandas made it."""
    start, rows = unit.payload["start"], unit.payload["rows"]
    assert isinstance(start, np.int64)
    return pd.DataFrame(
        {"number": np.arange(start, start + rows), "at": pd.Timestamp("2024-01-01", tz="UTC")}
    )


def total_of(unit: Unit) -> dict[str, Any]:
    """Return what pandas computes of the frame that the stage before has made."""
    frame: pd.DataFrame = unit.payload
    return {"total": frame["number"].sum(), "mean": frame["number"].mean(), "last": frame["at"].max()}


def fail_once(unit: Unit, *, folder: str) -> pd.DataFrame:
    """Leave a mark and return a frame; the last unit fails while there is no file `go on`."""
    Path(folder, f"{unit.key}.{os.getpid()}.{time.monotonic_ns()}").touch()
    if unit.payload["start"] == 21 and not Path(folder, "go on").exists():
        raise RuntimeError("not yet")
    return make_frame(unit)


def make_generator(unit: Unit, *, folder: str) -> Any:
    """Leave a mark, and return what cannot travel."""
    Path(folder, f"{unit.payload['start']}.{os.getpid()}.{time.monotonic_ns()}").touch()
    return (number for number in range(3))
