"""Stages that annotate arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from project_fanout.engine import Unit


@dataclass
class Sample:
    """Data with an array in it."""

    pixels: "np.ndarray[Any, Any]"
    label: int


def describe_array(unit: Unit[NDArray[np.float64]]) -> list[str]:
    """Say what has arrived."""
    return [type(unit.payload).__name__, str(unit.payload.dtype)]


def describe_array_or_none(unit: Unit["np.ndarray[Any, Any] | None"]) -> list[str]:
    """Say what has arrived."""
    return [type(unit.payload).__name__]


def describe_sample(unit: Unit[Sample]) -> list[str]:
    """Say what has arrived."""
    return [type(unit.payload).__name__, type(unit.payload.pixels).__name__, str(unit.payload.label)]
