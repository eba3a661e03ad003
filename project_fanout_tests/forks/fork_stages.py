"""Stages of the forks in the tests."""

import os
import threading
import time
from pathlib import Path
from typing import Any

from project_fanout.engine import Fanout, Unit
from project_fanout.forks.consume import consume
from project_fanout_tests.waiting import wait_until


def double(unit: Unit, *, number: int) -> dict:
    return {"number": 2 * number}


def shout(unit: Unit, *, text: str, mark: str = "!") -> dict:
    return {"text": text.upper() + mark}


def split_words(unit: Unit, *, text: str) -> Fanout:
    return Fanout([Unit(f"{index}-{word}", {"word": word}) for index, word in enumerate(text.split())])


def count_letters(unit: Unit, *, at_least: int = 0) -> int:
    return max(at_least, len(unit.payload["word"]))


def add_one(unit: Unit) -> dict:
    return {"number": unit.payload["number"] + 1}


def fail(unit: Unit, *, reason: str = "no reason") -> None:
    raise ValueError(reason)


def leave_mark(unit: Unit, *, folder: str) -> dict:
    (Path(folder) / unit.key).touch()
    return {"pid": os.getpid()}


def hang(unit: Unit, *, folder: str) -> None:
    (Path(folder) / f"{unit.key}.{time.monotonic_ns()}").touch()
    time.sleep(600)


def succeed_at(unit: Unit, *, folder: str, attempt: int) -> int:
    """Fail until the attempt with that number."""
    marks = Path(folder)
    (marks / f"{unit.key}.{time.monotonic_ns()}").touch()
    started = len(list(marks.glob(f"{unit.key}.*")))
    if started < attempt:
        raise ValueError(f"attempt {started} of {attempt}")
    return started


def make_lock(unit: Unit, *, number: float) -> Any:
    return threading.Lock()


def consume_together(
    unit: Unit, *, extra_param1: str, extra_param2: int = 42, name: str, other: str, folder: str
) -> dict:
    """Consume a value; for the value 0 wait until the asset *other* is consuming it as well."""
    began = time.time()
    (Path(folder) / f"{name}.{unit.key}").touch()
    if unit.payload == 0:
        wait_until((Path(folder) / f"{other}.0").exists, f"{other} has begun while {name} is at work", 60)
    message = consume(unit, extra_param1=extra_param1, extra_param2=extra_param2)
    return {"message": message, "pid": os.getpid(), "began": began, "ended": time.time()}


def start(unit: Unit, *, folder: str) -> dict:
    """First stage of a chain that counts how often each of its stages was started."""
    (Path(folder) / f"start.{unit.key}.{time.monotonic_ns()}").touch()
    return {"number": 1}


def finish(unit: Unit, *, folder: str) -> dict:
    """Second stage; the task "bad" fails for as long as there is a file "broken"."""
    (Path(folder) / f"finish.{unit.key}.{time.monotonic_ns()}").touch()
    if unit.key == "bad" and (Path(folder) / "broken").exists():
        raise ValueError("broken")
    return unit.payload
