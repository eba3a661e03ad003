"""Measure what values cost that are more than JSON: frames that make the table, and arrays between two stages.

python benchmarks/bench_values.py               # 1,000 frames of 10,000 rows x 8 columns; 200 arrays of 20 MB
python benchmarks/bench_values.py --rounds 1 --frames 100 --arrays 20
"""

import argparse
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

WORKERS = 2


def bare(frames: int) -> dict[str, Any]:
    """Return the seconds of a process pool that pickles the same frames, and joins them at the end."""
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415  # each contestant imports its own
    from functools import partial  # noqa: PLC0415  # likewise

    import frame_units  # noqa: PLC0415  # likewise
    import pandas as pd  # noqa: PLC0415  # likewise

    began = time.perf_counter()
    with ProcessPoolExecutor(WORKERS) as pool:
        parts = list(pool.map(partial(frame_units.frame, rows=10_000), range(frames)))
    joined = pd.concat(parts, ignore_index=True)
    return {"seconds": time.perf_counter() - began, "rows": len(joined)}


def fanout(name: str, params: dict[str, int]) -> dict[str, Any]:
    """Return seconds, peak memory of the run's process and size of the table of a run with a durable instance."""
    import dagster as dg  # noqa: PLC0415  # as above
    import kept  # noqa: PLC0415  # likewise
    import value_jobs  # noqa: PLC0415  # likewise

    logging.disable(logging.CRITICAL)
    run_config = {
        "ops": {name: {"config": {"params": params}}},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
    with tempfile.TemporaryDirectory() as home:
        instance = dg.DagsterInstance.local_temp(home)
        instance.get_runs(limit=1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        job = dg.reconstructable(getattr(value_jobs, name))
        began = time.perf_counter()
        with dg.execute_job(job, instance, run_config=run_config) as result:
            taken = time.perf_counter() - began
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            table = kept.TABLES.pop()
            if not result.success:
                raise SystemExit(f"{name} has failed")
        instance.dispose()
    return {
        "seconds": taken,
        "peak_mb": peak / 1000,
        "before_mb": before / 1000,
        "table_mb": table.memory_usage(deep=True).sum() / 1e6,
        "results_mb": table.iloc[:, 7:].memory_usage(deep=True).sum() / 1e6,
        "rows": len(table),
        "dtypes": {column: str(dtype) for column, dtype in table.iloc[:, 7:].dtypes.items()},
    }


def run(*arguments: str) -> dict[str, Any]:
    """Return what this script prints in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    done = subprocess.run(
        [sys.executable, __file__, *arguments], check=True, capture_output=True, text=True, env=environment
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {arguments} {found}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--arrays", type=int, default=200)
    parser.add_argument("--one", choices=["bare", "frames", "arrays"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one == "bare":
        print(json.dumps(bare(given.frames)))
    elif given.one == "frames":
        print(json.dumps(fanout("frames", {"units": given.frames, "rows": 10_000})))
    elif given.one == "arrays":
        print(json.dumps(fanout("arrays", {"units": given.arrays, "megabytes": 20})))
    else:
        sizes = ["--frames", str(given.frames), "--arrays", str(given.arrays)]
        rounds = [(run("--one", "bare", *sizes), run("--one", "frames", *sizes)) for _ in range(given.rounds)]
        arrays = run("--one", "arrays", *sizes)
        ratio = statistics.median(own["seconds"] / other["seconds"] for other, own in rounds)
        memory = statistics.median(own["peak_mb"] / own["table_mb"] for _, own in rounds)
        print(
            f"{given.frames} frames of 10,000 x 8: {ratio:.2f} x a bare pool, peak memory {memory:.2f} x the table"
        )
        print(
            f"{given.arrays} arrays of 20 MB between two stages: peak memory of the run {arrays['peak_mb']:.0f} MB"
        )


if __name__ == "__main__":
    main()
