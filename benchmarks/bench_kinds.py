"""Measure each kind of unit against the best bare tool for it.

python benchmarks/bench_kinds.py                 # all, the median of three rounds, 15 minutes
python benchmarks/bench_kinds.py --rounds 1 --only gets rates

Each figure is a run in a process of its own, over a durable instance with Dagster's defaults. What a run costs by
itself, measured with one unit of the same kind, is subtracted where the table says "+ run".
"""

import argparse
import asyncio
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

Figures = dict[str, Any]


# One contestant each, in a process of its own: what is printed is JSON.


def run_job(kind: str, config: Figures) -> Figures:
    """Execute a job of `kind_jobs` and return seconds, statuses, attempts, and the most memory of all its processes."""
    os.environ["BENCHMARK_KIND"] = kind
    import dagster as dg  # noqa: PLC0415  # each contestant imports its own
    import kept  # noqa: PLC0415  # likewise
    import kind_jobs  # noqa: PLC0415  # likewise

    logging.disable(logging.CRITICAL)
    run_config = {
        "ops": {kind: {"config": {"params": config["params"], "policy": config.get("policy", {})}}},
        "resources": {"unit_pool": {"config": config.get("pool", {})}},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
    if ledger := config.get("ledger"):
        os.environ["FANOUT_LEDGER_URL"] = ledger
    with tempfile.TemporaryDirectory() as home, most_memory() as memory:
        instance = dg.DagsterInstance.local_temp(home)
        instance.get_runs(limit=1)
        began = time.perf_counter()
        with dg.execute_job(dg.reconstructable(kind_jobs.job), instance, run_config=run_config) as result:
            seconds = time.perf_counter() - began
            if not result.success:
                raise SystemExit(f"{kind} has failed")
        table = kept.TABLES.pop()
        instance.dispose()
    return {
        "seconds": seconds,
        "mb": memory(),
        "attempts": int(table["attempts"].max()),
        "failed": int((table["status"] != "succeeded").sum()),
    }


@contextmanager
def most_memory() -> Iterator[Callable[[], float]]:
    """Watch the memory of this process and its descendants, shared pages counted once, in MB."""
    most, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.25):
            most[0] = max(most[0], sum(map(_share_of_memory, _family(os.getpid()))))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: most[0]
    finally:
        over.set()
        thread.join()


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _family(int(child))


def _share_of_memory(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1000
    except OSError:
        pass  # it has ended
    return 0.0


def bare_async(url: str, units: int) -> Figures:
    """Return the seconds of an asyncio program with a semaphore."""
    import aiohttp  # noqa: PLC0415  # as above

    async def main() -> None:
        limit = asyncio.Semaphore(64)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def one(number: int) -> int:
                async with limit, session.get(f"{url}/{number}") as answer:
                    return len(await answer.read())

            await asyncio.gather(*map(one, range(units)))

    began = time.perf_counter()
    asyncio.run(main())
    return {"seconds": time.perf_counter() - began}


def bare_threads(url: str, units: int) -> Figures:
    """Return the seconds of 64 threads."""
    import kind_work  # noqa: PLC0415  # as above

    began = time.perf_counter()
    with ThreadPoolExecutor(64) as threads:
        list(threads.map(kind_work.get, [f"{url}/{number}" for number in range(units)]))
    return {"seconds": time.perf_counter() - began}


_model: Any = None


def _set_up(path: str) -> None:
    import kind_work  # noqa: PLC0415  # as above

    global _model  # as the documentation of the pool has it
    _model = kind_work.load(path)


def _use(number: int) -> float:
    return float(_model[number])


def bare_set_up(path: str, units: int) -> Figures:
    """Return the seconds of a process pool with an initializer."""
    began = time.perf_counter()
    with ProcessPoolExecutor(2, initializer=_set_up, initargs=(path,)) as pool:
        list(pool.map(_use, range(units)))
    return {"seconds": time.perf_counter() - began}


def bare_multiply(units: int) -> Figures:
    """Return the seconds of a process pool whose workers have one BLAS thread each."""
    import kind_work  # noqa: PLC0415  # as above

    began = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(kind_work.product, range(units)))
    return {"seconds": time.perf_counter() - began}


CONTESTANTS: dict[str, Callable[..., Figures]] = {
    each.__name__: each for each in (run_job, bare_async, bare_threads, bare_set_up, bare_multiply)
}


def contest(name: str, *arguments: Any, **variables: str) -> Figures:
    """Return what a contestant gives in a process of its own."""
    process = start(name, *arguments, **variables)
    output, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{name}{arguments}:\n{errors[-3000:]}")
    figures: Figures = json.loads(output.splitlines()[-1])
    return figures


def start(name: str, *arguments: Any, **variables: str) -> "subprocess.Popen[str]":
    """Start a contestant."""
    return subprocess.Popen(
        [sys.executable, __file__, "--contest", json.dumps([name, *arguments])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]), **variables},
    )


@contextmanager
def server(seconds: float) -> Iterator[str]:
    """Start the server; yield its URL."""
    command = [sys.executable, "-c", f"import asyncio, kind_work; asyncio.run(kind_work.serve({seconds}))"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def ours(
    kind: str, units: int, *, pool: Figures | None = None, policy: Figures | None = None, **params: Any
) -> Figures:
    """Return the figures of a run of *units* units, in records of 20."""
    variables = {"BENCHMARK_MODEL": params.pop("model")} if "model" in params else {}
    config = {"params": {"units": units, **params}, "pool": pool or {}, "policy": policy or {}}
    figures = contest("run_job", kind, config, **variables)
    if figures["failed"]:
        raise SystemExit(f"{kind}: {figures['failed']} units have failed")
    return figures


# What is measured: each returns a row of the table.


def gets() -> Iterator[Figures]:
    """1,000 GETs of 200 ms, 64 at once."""
    with server(0.2) as url:
        bare = contest("bare_async", url, 1000)["seconds"]
        policy = {"max_workers": 64}
        fixed = ours("fetch_async", 1, url=url, policy=policy)["seconds"] - 0.2
        own = ours("fetch_async", 1000, url=url, policy=policy)["seconds"]
        yield row("coroutines: 1,000 GETs of 200 ms, 64 at once", own - fixed, bare, "asyncio + run", 1.15)
        bare = contest("bare_threads", url, 1000)["seconds"]
        pool = {"units_per_worker": 32, "max_workers": 2}
        fixed = ours("fetch", 1, url=url, pool=pool)["seconds"] - 0.2
        own = ours("fetch", 1000, url=url, pool=pool)["seconds"]
        yield row("threads: the same, 2 workers x 32", own - fixed, bare, "64 threads + run", 1.3)


def many() -> Iterator[Figures]:
    """10,000 coroutines of 1 s, 1,000 at once."""
    figures = ours(
        "wait",
        10_000,
        per_record=100,
        pool={"max_workers": 1, "units_per_worker": 1000},
        policy={"max_workers": 1000},
    )
    yield row("10,000 coroutines of 1 s, 1,000 at once", figures["seconds"], 10.0, "ideal", 1.2)
    yield row("memory of all its processes, MB", figures["mb"], 400.0, "limit", 1.0)


def set_up() -> Iterator[Figures]:
    """300 MB once per worker, 200 trivial units."""
    import numpy as np  # noqa: PLC0415  # as above

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.npy")
        np.save(path, np.random.default_rng(1).normal(size=37_500_000))
        loads = Path(f"{path}.loads")

        def loaded() -> int:
            count = len(loads.read_text())
            loads.unlink()
            return count

        bare = contest("bare_set_up", path, 200)["seconds"]
        loaded()
        fixed = ours("multiply", 1)["seconds"]
        own = ours("use", 200, path=path, pool={"max_workers": 2})["seconds"]
        yield row(
            f"per_worker: 300 MB, 200 units, loaded {loaded()} times",
            own - fixed,
            bare,
            "initializer + run",
            1.2,
        )
        own = ours("use_shared", 200, model=path, pool={"max_workers": 2})["seconds"]
        yield row(
            f"for_units(): the same, loaded {loaded()} times", own - fixed, bare, "initializer + run", 1.2
        )


def batch() -> Iterator[Figures]:
    """A boosted ensemble on 20,000 units."""
    single = ours("infer", 20_000, per_record=1000)["seconds"]
    own = ours("infer_batch", 20_000, per_record=1000, policy={"batch_size": 500})["seconds"]
    yield row("batches of 500: 200 trees on 20,000 units", own, single, "a call per unit", 0.1)


def matmul() -> Iterator[Figures]:
    """Products of 1,500 x 1,500, on two workers."""
    bare = contest("bare_multiply", 100, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")["seconds"]
    fixed = ours("multiply", 1)["seconds"]
    own = ours("multiply", 100, pool={"max_workers": 2})["seconds"]
    yield row("a @ a of 1,500 x 1,500, 100 units", own - fixed, bare, "pool, 1 BLAS thread + run", 1.0)


def leaks() -> Iterator[Figures]:
    """A stage that leaks 50 MB a unit."""
    figures = ours("leak", 200, pool={"recycle_above_mb": 300, "max_workers": 2})
    assert figures["attempts"] == 1
    yield row("memory of 200 units that leak 50 MB each, MB", figures["mb"], 1200.0, "limit", 1.0)


def rates() -> Iterator[Figures]:
    """500 units at 50 a second, on four workers; and two runs with one ledger."""
    with server(0.01) as url, tempfile.TemporaryDirectory() as folder:
        config = {
            "params": {"units": 500, "url": url},
            "pool": {"max_workers": 4},
            "policy": {"max_per_second": 50},
            "ledger": str(Path(folder) / "ledger.db"),
        }
        for runs in (1, 2):
            processes = [start("run_job", "fetch", config) for _ in range(runs)]
            for process in processes:
                process.communicate()
            arrivals = sorted(_arrivals(url))
            assert len(arrivals) == 500 * runs, len(arrivals)
            most = max(_within_a_second(arrivals))
            what = f"{runs} run{'s' * (runs > 1)} of 500 GETs at 50 a second"
            yield row(f"{what}: most in a second", most, 50.0, "limit", 1.0)
            yield row(f"{what}: seconds", arrivals[-1] - arrivals[0], 10.0 * runs, "ideal", 1.05)


def _arrivals(url: str) -> list[float]:
    import urllib.request  # noqa: PLC0415  # as above

    with urllib.request.urlopen(f"{url}/arrivals") as answer:  # noqa: S310  # it is http
        found: list[float] = json.loads(answer.read())
    return found


def _within_a_second(arrivals: list[float]) -> Iterator[int]:
    for first, at in enumerate(arrivals):
        last = first
        while last < len(arrivals) and arrivals[last] < at + 1:
            last += 1
        yield last - first


def row(what: str, own: float, other: float, than: str, limit: float) -> Figures:
    """Return a row of the table."""
    return {"what": what, "own": own, "other": other, "than": than, "ratio": own / other, "limit": limit}


PARTS = {each.__name__: each for each in (gets, many, set_up, batch, matmul, leaks, rates)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--contest", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contest:
        name, *given = json.loads(arguments.contest)
        print(json.dumps(CONTESTANTS[name](*given)))
        return
    print("| what | here | bare | than | ratio | at most |\n| --- | --- | --- | --- | --- | --- |")
    for name in arguments.only:
        rounds = [list(PARTS[name]()) for _ in range(arguments.rounds)]
        for rows in zip(*rounds, strict=True):
            middle = statistics.median_low([each["ratio"] for each in rows])
            one = next(each for each in rows if each["ratio"] == middle)
            print(
                f"| {one['what']} | {one['own']:.2f} | {one['other']:.2f} | {one['than']} | {middle:.2f} "
                f"| {one['limit']:g} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
