"""Compare ProcessPool with the standard library's pool, and with Pebble's if it is installed.

Units burn 20 ms of processor time each; the pools take turns; printed is the median of the rounds, its
ratio to the standard pool, and how long a worker waits between two units. With --busy the main thread
runs Python code meanwhile, as one that writes an event log does. With --nap units sleep instead: on a
machine that has other work to do, only then do the figures tell about the pools.

    python benchmarks/pool.py --units 500 --rounds 3 --busy
"""

import argparse
import importlib
import itertools
import json
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
from project_fanout.engine.pools.calls import UnitCall, UnitReply

try:
    from pebble import ProcessPool as PebblePool
except ImportError:
    PebblePool = None


def burn(unit: Unit) -> tuple[int, float, float]:
    """Use as many milliseconds of processor time as the payload says; return process, start and end."""
    began = time.monotonic()
    end = time.process_time() + unit.payload / 1000
    while time.process_time() < end:
        pass
    return os.getpid(), began, time.monotonic()


def nap(unit: Unit) -> tuple[int, float, float]:
    """Sleep as many milliseconds as the payload says; return process, start and end."""
    began = time.monotonic()
    time.sleep(unit.payload / 1000)  # a unit that takes time and no processor: what --nap is for
    return os.getpid(), began, time.monotonic()


def resident_kb(_: Unit) -> int:
    """Return the worker's largest resident size so far, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def call(stage: str, unit_key: int, payload: int, params: bytes = pickle.dumps({})) -> UnitCall:
    return UnitCall(f"benchmarks.pool:{stage}", "record", str(unit_key), str(payload), params)


Stage = Callable[[Unit], tuple[int, float, float]]


def ours(workers: int, stage: Stage) -> tuple[ProcessPool, Callable[[int, int], "Future[Any]"]]:
    pool = ProcessPool(workers)
    return pool, lambda index, ms: pool.submit(call(stage.__name__, index, ms))


def standard(workers: int, stage: Stage) -> tuple[Any, Callable[[int, int], "Future[Any]"]]:
    pool = ProcessPoolExecutor(workers, mp_context=get_context("forkserver"))
    return pool, lambda index, ms: pool.submit(stage, Unit(str(index), ms))


def pebble(workers: int, stage: Stage) -> tuple[Any, Callable[[int, int], "Future[Any]"]]:
    pool = PebblePool(workers, context=get_context("forkserver"))
    return pool, lambda index, ms: pool.schedule(stage, args=(Unit(str(index), ms),))


def waits(results: list[Any]) -> list[float]:
    """Return the seconds between the end of each unit and the start of the next one on the same worker."""
    spans = [json.loads(r.encoded) if isinstance(r, UnitReply) else r for r in results]
    spans = sorted(tuple(span) for span in spans)
    return [after[1] - before[2] for before, after in itertools.pairwise(spans) if before[0] == after[0]]


def measure(
    make: Callable[..., Any], stage: Stage, units: int, ms: int, workers: int, busy: bool
) -> tuple[float, list[float]]:
    """Return the seconds from the first submit to the last result, workers already started, and the waits."""
    pool, submit = make(workers, stage)
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
    futures = [submit(index, ms) for index in range(units)]
    for future in futures:
        future.add_done_callback(count)
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
    return seconds, waits([future.result() for future in futures])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=500)
    parser.add_argument("--ms", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", action="store_true", help="keep the main thread busy with Python")
    parser.add_argument("--nap", action="store_true", help="units sleep instead of using processor time")
    arguments = parser.parse_args()

    began = time.perf_counter()
    with ProcessPool(1) as pool:
        kb = pool.submit(call("resident_kb", 0, 0)).result().encoded
        print(
            f"first reply after {time.perf_counter() - began:.2f} s, worker of {int(kb or 0) / 1024:.0f} MB"
        )

    pools = {"ProcessPoolExecutor": standard, "ProcessPool": ours}
    if PebblePool is not None:
        pools["Pebble"] = pebble
    seconds: dict[str, list[float]] = {name: [] for name in pools}
    gaps: dict[str, list[float]] = {name: [] for name in pools}
    # Under its own name, which the workers can import, and not as __main__.
    module = importlib.import_module("benchmarks.pool")
    for _ in range(arguments.rounds):
        for name, make in pools.items():
            stage = module.nap if arguments.nap else module.burn
            took, waited = measure(
                make, stage, arguments.units, arguments.ms, arguments.workers, arguments.busy
            )
            seconds[name].append(took)
            gaps[name].extend(waited)
    base = statistics.median(seconds["ProcessPoolExecutor"])
    ideal = arguments.units * arguments.ms / 1000 / arguments.workers
    for name, measured in seconds.items():
        median = statistics.median(measured)
        print(
            f"{name:20} {median:7.2f} s  {median / base:.3f} x standard  {median / ideal:.3f} x ideal; "
            f"a worker waits "
            f"{statistics.median(gaps[name]) * 1000:.2f} ms (median), "
            f"{statistics.mean(gaps[name]) * 1000:.2f} ms (mean)"
        )


if __name__ == "__main__":
    main()
