"""A stage that tells what its process has imported; like any stage it imports no Dagster."""

import sys
from collections.abc import Iterator
from typing import Any

from project_fanout.engine import Record, Unit


def two_records() -> Iterator[Record]:
    """Yield two records of three units."""
    for name in ("first", "second"):
        yield Record(name, [Unit(str(number)) for number in range(3)])


def imported(unit: Unit) -> dict[str, Any]:
    """Return how many modules the process has imported, and those of them that are Dagster's."""
    modules = list(sys.modules)
    return {
        "modules": len(modules),
        "dagster": [name for name in modules if name.partition(".")[0].startswith("dagster")],
    }
