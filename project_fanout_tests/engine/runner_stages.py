"""Stages and records for the tests of the contract; like any user's they import no Dagster."""

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from project_fanout.engine import Fanout, Record, RetryAfter, Unit
from project_fanout.engine.errors import FinalError
from project_fanout.engine.pools.attempt.call_stage import MAX_RESULT_BYTES
from project_fanout_tests.waiting import wait_until


def split(unit: Unit, *, width: int = 2) -> Any:
    """Fan out into the children that the payload lists; `broken` fails, a number goes on as it is."""
    if unit.payload == "broken":
        raise ValueError("told to fail")
    if isinstance(unit.payload, list):
        return Fanout([Unit(f"{unit.key}/{index}", child) for index, child in enumerate(unit.payload)])
    return unit.payload * width


def weigh(unit: Unit, *, offset: int = 1) -> Any:
    """Return a result of the kind that the payload asks for; a negative number fails."""
    number = unit.payload
    if number < 0:
        raise LookupError(f"no weight for {number}")
    return {"weight": number + offset, "odd": bool(number % 2)} if number % 3 else number


def mark(unit: Unit, *, folder: str, fail: str = "") -> dict[str, str]:
    """Leave a file named after the unit, and fail if the unit's key starts with *fail*."""
    (Path(folder) / unit.key).touch()
    if fail and unit.key.startswith(fail):
        raise RuntimeError(f"{unit.key} was told to fail")
    return {"key": unit.key}


def fail_for_good(unit: Unit, *, folder: str) -> None:
    """Leave a file for each attempt, and fail in a way that no other attempt would change."""
    attempts = Path(folder)
    (attempts / f"{unit.key}-{len(list(attempts.iterdir()))}").touch()
    raise FinalError("told to fail for good")


def come_back(unit: Unit, *, folder: str) -> int:
    """Leave a file for each try; as often as the payload says, raise what it says. Return how many there were."""
    how, times = unit.payload
    tries = len(list(Path(folder).iterdir())) + 1
    (Path(folder) / str(tries)).touch()
    if tries > times:
        return tries
    if how == "RetryAfter":
        raise RetryAfter(0.01, "429 Too Many Requests")
    import dagster as dg

    if how == "RetryRequested":
        raise dg.RetryRequested(max_retries=3, seconds_to_wait=0.01)
    raise dg.Failure("no such page", allow_retries=how != "final Failure")


class Year(Enum):
    """Of an Enum only the value travels."""

    FIRST = 1


def return_unfit(unit: Unit, *, folder: str) -> Any:
    """Leave a file for each attempt, and return what cannot travel in the way that the key says."""
    attempts = Path(folder)
    (attempts / f"{unit.key}-{len(list(attempts.glob(f'{unit.key}-*')))}").touch()
    if unit.key == "too long":
        return "x" * (MAX_RESULT_BYTES + 1)
    unfit: dict[str, Any] = {
        "merged keys": {"years": {Year.FIRST: "a", 1: "b"}},
        "a lock": {"tags": (1, threading.Lock())},
        "a generator": (number for number in range(3)),
        "a unit": Unit("u"),
        "a fan-out": Fanout([Unit("fine"), Unit("odd", {"of": iter(())})]),
    }
    return unfit[unit.key]


def mark_and_wait(unit: Unit, *, folder: str, fail: str, go: str) -> str:
    """Leave a file; the unit *fail* raises, any other one ends when there is the file *go*."""
    (Path(folder) / unit.key).touch()
    if unit.key == fail:
        raise RuntimeError(f"{unit.key} was told to fail")
    wait_until(Path(go).exists, "it may go on")
    return unit.key


def fail_first(unit: Unit, *, folder: str, times: int = 1) -> int:
    """Fail the first *times* attempts; each leaves a file."""
    attempts = Path(folder)
    done = len(list(attempts.glob(f"{unit.key}.*")))
    (attempts / f"{unit.key}.{done}").touch()
    if done < times:
        raise RuntimeError(f"attempt {done + 1} failed")
    return done


def level(unit: Unit, *, folder: str, wait_for: int = 1) -> dict[str, int]:
    """Return how many units are in work now, and how many have started, this one included.

    Before that, wait until *wait_for* units have started, which they cannot if this one has to end first.
    """
    started, working = Path(folder) / "started", Path(folder) / "working"
    for marks in (started, working):
        marks.mkdir(exist_ok=True)
        (marks / unit.key).touch()
    time.sleep(0.01)  # so that units that may overlap do
    give_up_at = time.monotonic() + 20
    while len(list(started.iterdir())) < wait_for and time.monotonic() < give_up_at:
        time.sleep(0.002)
    seen = {"working": len(list(working.iterdir())), "started": len(list(started.iterdir()))}
    (working / unit.key).unlink()
    return seen


def hang_on(unit: Unit, *, key: str) -> str:
    """Hang if the unit has this key."""
    if unit.key == key:
        time.sleep(600)
    return unit.key


def exit_on(unit: Unit, *, key: str) -> str:
    """End the worker if the unit has this key."""
    if unit.key == key:
        os._exit(3)
    return unit.key


def log_at(unit: Unit) -> None:
    """Write one log record of the level that the payload names."""
    logging.getLogger("workload").log(unit.payload, "working at level %s", unit.payload)


def echo(unit: Unit) -> Any:
    """Return the payload."""
    return unit.payload


def same_children(unit: Unit) -> Fanout:
    """Fan out into a child whose key does not tell its parent."""
    return Fanout([Unit("child", unit.payload)])


def twins(unit: Unit) -> Fanout:
    """Fan out into two children of one key."""
    return Fanout([Unit("twin"), Unit("twin")])


def list_of_units(unit: Unit) -> list[Unit]:
    """Return units as they are, where a `Fanout` of them was meant."""
    return [Unit(f"{unit.key}/0"), Unit(f"{unit.key}/1")]


def some_records(*, count: int = 3, units: int = 2) -> Iterator[Record]:
    """Yield *count* records of *units* units, with the number of the unit as payload."""
    for record in range(count):
        yield Record(
            f"record {record}",
            [Unit(f"r{record}u{unit}", record * units + unit) for unit in range(units)],
        )


def keyed_records(*, keys: Sequence[str]) -> list[Record]:
    """Return a record of one unit for each key; the unit has the key too."""
    return [Record(key, [Unit(key, key)]) for key in keys]


def mixed_records() -> list[Record]:
    """Return records that meet every case of `split` and `weigh`."""
    return [
        Record("б.1", [Unit("a", 1), Unit("b", [2, -1, 4]), Unit("c", "broken")]),
        Record("empty"),
        Record("class", [Unit("a", [])]),
        Record("x y", [Unit("a", [3]), Unit("b", -7), Unit("c", 6)]),
    ]


def hold(unit: Unit, *, folder: str, at: str = "") -> str:
    """Leave a file; a unit with the key *at* then waits until there is a file `release`, a minute at most."""
    marks = Path(folder)
    attempt = len(list(marks.glob(f"{unit.key}.*")))
    (marks / f"{unit.key}.{attempt}").touch()
    give_up_at = time.monotonic() + 60
    while unit.key == at and not (marks / "release").exists() and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return unit.key


def raise_or_fan_out(unit: Unit) -> Fanout:
    """Raise for the unit "raises"; fan out for any other, which after the last stage is never tried again."""
    if unit.key == "raises":
        raise ValueError("not this time")
    return Fanout([Unit("child")])
