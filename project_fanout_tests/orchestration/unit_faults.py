"""Records and stages that fail, hang and die as their payload says; like any user's they import no Dagster."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from project_fanout.engine import Record, Unit
from project_fanout_tests.engine.pools import stages as pool_stages
from project_fanout_tests.waiting import wait_until


def told_records(*, plan: dict[str, list[Any]]) -> Iterator[Record]:
    """Yield a record of three units for each entry of *plan*: the middle one does what the entry says."""
    for name, order in plan.items():
        yield Record(name, [Unit("before", None), Unit(name, order), Unit("after", None)])


def obey(unit: Unit) -> Any:
    """Do what the payload says: a stage of `pool_stages` and its payload; without one return the key."""
    if unit.payload is None:
        return unit.key
    stage, payload = unit.payload
    return getattr(pool_stages, stage)(Unit(unit.key, payload))


def many_units(*, records: int = 10, units: int = 10) -> Iterator[Record]:
    """Yield records whose last unit has a key that begins with "bad"."""
    for record in range(records):
        keys = [f"{'bad' if unit + 1 == units else 'good'} {record}.{unit}" for unit in range(units)]
        yield Record(f"record {record}", [Unit(key) for key in keys])


def die_if_bad(unit: Unit, *, key: str) -> str:
    """End the worker if the unit has this key."""
    if unit.key == key:
        os._exit(7)
    return unit.key


def wait_to_be_killed(unit: Unit, *, folder: str, workers: int = 2, times: int = 2) -> str:
    """Wait, noting the worker's process id, until so many workers so many times have been killed."""
    own = Path(folder) / str(os.getpid())
    own.touch()
    killed = workers * times
    wait_until(lambda: len(list(Path(folder).glob("killed *"))) >= killed, "the workers have been killed", 60)
    return unit.key


def large_units(*, size: int = 1, order: Any = None) -> Iterator[Record]:
    """Yield two records of two units with much payload; the last one does what *order* says."""
    yield Record("one", [Unit("a", ["echo", "x" * size]), Unit("b", ["echo", "x" * size])])
    yield Record("two", [Unit("a", ["echo", "x" * size]), Unit("b", order or ["echo", "x" * size])])


def only_length(unit: Unit) -> int:
    """Return how long the payload of the first stage was."""
    return len(unit.payload[1])
