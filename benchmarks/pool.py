"""Compare ProcessPool with the standard library's pool, and with Pebble's if it is installed.

Units burn 20 ms of processor time each; the pools take turns; printed is the median of the rounds and
its ratio to the standard pool. With --busy the main thread runs Python code meanwhile, as one that
writes an event log does.

    python benchmarks/pool.py --units 500 --rounds 3 --busy
"""

import argparse
import os
import pickle
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from project_fanout.engine import ProcessPool, Unit
from project_fanout.engine.calls import UnitCall

try:
    from pebble import ProcessPool as PebblePool
except ImportError:
    PebblePool = None


def burn(unit: Unit) -> int:
    """Use as many milliseconds of processor time as the payload says."""
    end = time.process_time() + unit.payload / 1000
    while time.process_time() < end:
        pass
    return os.getpid()


def resident_kb(unit: Unit) -> int:
    """Return the worker's largest resident size so far, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def call(stage: str, unit_key: int, payload: int, params: bytes = pickle.dumps({})) -> UnitCall:
    return UnitCall(f"benchmarks.pool:{stage}", "record", str(unit_key), str(payload), params)


def ours(workers: int) -> tuple[ProcessPool, Callable[[int, int], "Future[Any]"]]:
    pool = ProcessPool(workers)
    return pool, lambda index, ms: pool.submit(call("burn", index, ms))


def standard(workers: int) -> tuple[Any, Callable[[int, int], "Future[Any]"]]:
    pool = ProcessPoolExecutor(workers, mp_context=get_context("forkserver"))
    return pool, lambda index, ms: pool.submit(burn, Unit(str(index), ms))


def pebble(workers: int) -> tuple[Any, Callable[[int, int], "Future[Any]"]]:
    pool = PebblePool(workers, context=get_context("forkserver"))
    return pool, lambda index, ms: pool.schedule(burn, args=(Unit(str(index), ms),))


def measure(make: Callable[[int], Any], units: int, ms: int, workers: int, busy: bool) -> float:
    """Return the seconds from the first submit to the last result, workers already started."""
    pool, submit = make(workers)
    for future in [submit(index, 50) for index in range(2 * workers)]:
        future.result()
    done = threading.Event()
    left = [units]
    lock = threading.Lock()

    def count(_: "Future[Any]") -> None:
        with lock:
            left[0] -= 1
            if not left[0]:
                done.set()

    began = time.perf_counter()
    for index in range(units):
        submit(index, ms).add_done_callback(count)
    if busy:
        while not done.is_set():
            sum(range(1000))
    done.wait()
    seconds = time.perf_counter() - began
    if PebblePool is not None and isinstance(pool, PebblePool):
        pool.close()
        pool.join()
    else:
        pool.close() if isinstance(pool, ProcessPool) else pool.shutdown()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=500)
    parser.add_argument("--ms", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", action="store_true", help="keep the main thread busy with Python")
    arguments = parser.parse_args()

    began = time.perf_counter()
    with ProcessPool(1) as pool:
        kb = pool.submit(call("resident_kb", 0, 0)).result().result_json
        print(
            f"first reply after {time.perf_counter() - began:.2f} s, worker of {int(kb or 0) / 1024:.0f} MB"
        )

    pools = {"ProcessPoolExecutor": standard, "ProcessPool": ours}
    if PebblePool is not None:
        pools["Pebble"] = pebble
    seconds: dict[str, list[float]] = {name: [] for name in pools}
    for _ in range(arguments.rounds):
        for name, make in pools.items():
            seconds[name].append(
                measure(make, arguments.units, arguments.ms, arguments.workers, arguments.busy)
            )
    base = statistics.median(seconds["ProcessPoolExecutor"])
    ideal = arguments.units * arguments.ms / 1000 / arguments.workers
    for name, measured in seconds.items():
        median = statistics.median(measured)
        print(
            f"{name:20} {median:7.2f} s  {median / base:.3f} x standard  {median / ideal:.3f} x ideal  {measured}"
        )


if __name__ == "__main__":
    main()
