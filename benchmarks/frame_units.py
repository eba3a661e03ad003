"""Units of the benchmark of values: they return frames, and hand on arrays."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from project_fanout.engine import Record, Unit

UNITS_OF_A_RECORD = 20


def find_records(*, units: int, rows: int = 10_000, megabytes: int = 20) -> Iterator[Record]:
    """Yield so many units in records of 20."""
    for first in range(0, units, UNITS_OF_A_RECORD):
        numbers = range(first, min(units, first + UNITS_OF_A_RECORD))
        yield Record(f"record {first}", [Unit(str(number), number) for number in numbers])


def frame(number: int, rows: int) -> pd.DataFrame:
    """Return a frame of eight columns of as many dtypes."""
    numbers = np.arange(number, number + rows)
    return pd.DataFrame(
        {
            "number": numbers,
            "share": numbers / 3,
            "name": [f"name {each}" for each in numbers.tolist()],
            "kind": pd.Categorical.from_codes(numbers % 3, categories=["a", "b", "c"]),
            "at": pd.date_range("2024-10-26", periods=rows, freq="s", tz="Europe/Berlin"),
            "count": pd.array(numbers % 7, dtype="Int64"),
            "good": numbers % 2 == 0,
            "weight": (numbers % 5).astype("float32"),
        }
    )


def make_frame(unit: Unit, *, rows: int = 10_000) -> pd.DataFrame:
    """Return the frame of a unit."""
    return frame(unit.payload, rows)


def make_array(unit: Unit, *, megabytes: int = 20) -> Any:
    """Return an array of so many megabytes."""
    return np.full(megabytes * 125_000, float(unit.payload))


def mean_of_array(unit: Unit) -> float:
    """Return the mean of the array that the stage before has made."""
    return float(unit.payload.mean())
