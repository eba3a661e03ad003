"""Stages for the tests of values; import nothing heavy, as those of a user who returns plain data."""

import datetime as dt
import os
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from typing_extensions import TypedDict

from project_fanout.engine import Fanout, Unit


@dataclass(frozen=True)
class Address:
    """Where somebody lives."""

    city: str
    zip_code: int


@dataclass(frozen=True)
class Order:
    """An order with what is nested in it."""

    number: int
    placed: dt.date
    address: Address


class Point(NamedTuple):
    """A place."""

    x: float
    y: float


class Row(TypedDict):
    """A row of a table."""

    name: str
    size: int


class Size(Enum):
    """A size."""

    SMALL = "s"


def echo(unit: Unit, *, folder: str = "") -> Any:
    """Return the payload; leave a mark."""
    if folder:
        Path(folder, f"{unit.key.replace('/', '-')}.{os.getpid()}.{time.monotonic_ns()}").touch()
    return unit.payload


def fan_out_payload(unit: Unit) -> Fanout:
    """Return the payload as that of a unit for the next stage, and once more beside it."""
    return Fanout([Unit(f"{unit.key}/0", unit.payload), Unit(f"{unit.key}/1", [unit.payload])])


def describe_order(unit: Unit[Order]) -> list[str]:
    """Say what has arrived."""
    order = unit.payload
    return [type(order).__name__, type(order.address).__name__, order.address.city, order.placed.isoformat()]


def describe_point(unit: Unit[Point]) -> list[str]:
    """Say what has arrived."""
    return [type(unit.payload).__name__, str(unit.payload.x)]


def describe_row(unit: Unit[Row]) -> list[str]:
    """Say what has arrived."""
    return [type(unit.payload).__name__, unit.payload["name"]]


def describe_size(unit: "Unit[Size]") -> list[str]:
    """Say what has arrived."""
    return [type(unit.payload).__name__, unit.payload.name]


def describe_text(unit: Unit[str]) -> list[str]:
    """Say what has arrived."""
    return [type(unit.payload).__name__, unit.payload]


def describe_orders(unit: Unit[list[Order]]) -> list[str]:
    """Say what has arrived."""
    return [type(each).__name__ for each in unit.payload]


def count_modules(unit: Unit) -> list[str]:
    """Return which of the libraries that plain data does without this worker has imported."""
    import sys  # looked at when it runs

    return [
        name
        for name in ("numpy", "pandas", "pyarrow", "pydantic", "ormsgpack", "upath", "dagster")
        if name in sys.modules
    ]


def make_array(unit: Unit, *, megabytes: int) -> Any:
    """Return an array of so many megabytes that holds the number of the unit."""
    import numpy as np  # only this stage needs it

    return np.full(megabytes * 2**17, float(unit.payload))


def sum_array(unit: Unit) -> float:
    """Return the mean of the array that the stage before has made; write to it, as stages do."""
    unit.payload[0] = unit.payload[-1]
    return float(unit.payload.mean())


def make_generator(unit: Unit, *, folder: str) -> Any:
    """Leave a mark, and return what cannot travel."""
    echo(unit, folder=folder)
    return (number for number in range(3))
