"""Coroutine, threaded and batch stages, well behaved and not."""

import asyncio
import ctypes
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from project_fanout.engine import Fanout, Unit, UnitFailure, per_worker


def note(folder: str, unit: Unit) -> None:
    """Leave a line for each time that the unit is started."""
    with (Path(folder) / unit.key).open("a") as file:
        file.write(f"{os.getpid()}\n")


def misbehave(how: str) -> None:
    """Do what ends a worker, or keeps it from its work."""
    if how == "exit":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "raise":
        raise ValueError("bad unit")
    if how == "hang":
        threading.Event().wait()
    if how == "hold the interpreter":
        ctypes.PyDLL(None).usleep(0)  # loads it
        while True:
            ctypes.PyDLL(None).sleep(3600)


async def coroutine(unit: Unit, *, folder: str) -> str:
    """Wait as for a server, beside others; the payload says how it goes wrong."""
    note(folder, unit)
    how = unit.payload or ""
    if how == "ignore cancellation":
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass
    if how == "wait":
        await asyncio.sleep(3600)
    await asyncio.sleep(0.2)
    misbehave(how)
    await asyncio.sleep(0.2)
    return unit.key


def thread(unit: Unit, *, folder: str) -> str:
    note(folder, unit)
    threading.Event().wait(0.2)
    misbehave(unit.payload or "")
    threading.Event().wait(0.2)
    return unit.key


def batch(units: list[Unit], *, folder: str) -> list[Any]:
    for unit in units:
        note(folder, unit)
    for unit in units:
        misbehave(unit.payload or "")
    return [UnitFailure("odd") if unit.payload == "fail" else len(units) for unit in units]


async def async_batch(units: list[Unit]) -> list[int]:
    await asyncio.sleep(0)
    return [len(units) for _ in units]


def wrong_batch(units: list[Unit]) -> Any:
    return {"dict": {}, "short": units[1:] and [1], "none": None, "text": "ab"}[units[0].payload]


async def log_and_wait(unit: Unit) -> None:
    """Log across awaits, in a task of its own, and in a thread."""
    for number in range(3):
        logging.getLogger("stage").info("%s says %d", unit.key, number)
        await asyncio.sleep(0.01)

    async def in_a_task() -> None:
        logging.getLogger("stage").info("%s in a task", unit.key)

    async def in_a_thread() -> None:
        await asyncio.to_thread(logging.getLogger("stage").info, "%s in a thread", unit.key)

    await asyncio.gather(in_a_task(), in_a_thread())


async def at_once(unit: Unit) -> list[float]:
    begun = time.monotonic()
    await asyncio.sleep(0.3)
    return [begun, time.monotonic()]


def at_once_in_threads(unit: Unit) -> list[float]:
    begun = time.monotonic()
    threading.Event().wait(0.3)
    return [begun, time.monotonic()]


async def fan_out(unit: Unit) -> Fanout:
    return Fanout([Unit(f"{unit.key}/{n}", n) for n in range(2)])


@per_worker
def model(*, path: str = "m", folder: str = "") -> Iterator[dict[str, Any]]:
    """Leave a line when made and when closed."""
    with (Path(folder) / "model").open("a") as file:
        file.write(f"made {path} {os.getpid()}\n")
    yield {"path": path, "pid": os.getpid(), "thread": threading.current_thread().name}
    with (Path(folder) / "model").open("a") as file:
        file.write(f"closed {path} {os.getpid()}\n")


@per_worker
async def client(*, folder: str = "") -> AsyncIterator[dict[str, Any]]:
    with (Path(folder) / "client").open("a") as file:
        file.write(f"made {os.getpid()}\n")
    await asyncio.sleep(0.05)
    yield {"loop": id(asyncio.get_running_loop())}
    await asyncio.sleep(0.01)
    with (Path(folder) / "client").open("a") as file:
        file.write(f"closed {os.getpid()}\n")


@per_worker
def broken() -> None:
    raise FileNotFoundError("no weights.bin")


@per_worker
def slow() -> None:
    threading.Event().wait()


def predict(unit: Unit, *, model: dict[str, Any]) -> Any:
    if unit.payload == "wait":
        threading.Event().wait(3600)
    return [model["path"], model["pid"], os.getpid()]


def turn_deaf(unit: Unit, *, model: dict[str, Any]) -> None:
    """Hear no SIGTERM from now on, as a main thread that is about to wait when it comes."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


async def fetch(unit: Unit, *, client: dict[str, Any]) -> bool:
    return client["loop"] == id(asyncio.get_running_loop())


def use_broken(unit: Unit, *, broken: None) -> None:
    """Never run."""


def shared_address(unit: Unit, *, array: Any, table: Any) -> Any:
    """Return where the array is, whether it may be written, and what is in both."""
    return [os.getpid(), bool(array.flags.writeable), int(array[7]), int(table["n"].sum())]


def leak(unit: Unit) -> int:
    """Keep 50 MB for ever."""
    _kept.append(bytearray(os.urandom(1) * 50_000_000))
    return len(_kept)


_kept: list[bytearray] = []


def burn(unit: Unit) -> None:
    """Compute for as many seconds of CPU time as the payload says."""
    begun = time.process_time()
    while time.process_time() < begun + unit.payload:
        sum(range(1000))


def environment(unit: Unit) -> dict[str, str | None]:
    names = ("FANOUT_WORKER", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    threading.Event().wait(0.1)
    return {name: os.environ.get(name) for name in names}


async def print_and_wait(unit: Unit) -> None:
    """Print in pieces across awaits, draw a progress bar, and warn."""
    print(f"{unit.key} begins", end=" ")
    await asyncio.sleep(0.05)
    print("and goes on")
    for percent in range(0, 101, 2):
        print(f"\r{unit.key}: {percent}%", end="", file=sys.stderr)
        await asyncio.sleep(0)
    print(file=sys.stderr)
    warnings.warn(f"{unit.key} is odd", stacklevel=1)
    print(f"{unit.key} ends", end="")


def log_of_others(unit: Unit) -> None:
    """Log as an installed library does, and as one's own module does, from a thread too."""
    import hypothesis  # an installed package

    for name in (hypothesis.__name__, __name__, ""):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            logging.getLogger(name).log(level, "%s %d", name or "root", level)
    thread = threading.Thread(target=logging.getLogger(__name__).warning, args=("in a thread",))
    thread.start()
    thread.join()


def start(unit: Unit) -> float:
    """Return when it has started."""
    return time.time()


async def start_coroutine(unit: Unit) -> float:
    return time.time()


def start_batch(units: list[Unit]) -> list[float]:
    return [time.time() for _ in units]
