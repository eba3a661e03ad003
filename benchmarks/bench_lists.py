"""What long lists and short units cost, against a bare `ProcessPoolExecutor` over the same units.

Two workers, a durable instance on disk, the ledger on. Bare pool and fan-out take turns; printed are the medians, the
ratio of each round's pair, and the peak memory of the run's own process.

    python benchmarks/bench_lists.py --rounds 3
    python benchmarks/bench_lists.py --rounds 1 --only no-op
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import bench_executors

SHAPES: dict[str, dict[str, Any]] = {
    "20 ms": {"records": 100, "units": 20, "seconds": 0.02},
    "1 ms": {"records": 10_000, "units": 10, "seconds": 0.001},
    "no-op": {"records": 50_000, "units": 20, "seconds": 0},
}


def fan_out(shape: dict[str, Any]) -> dict[str, float]:
    """Return seconds and peak memory, in MiB, of the run in a process of its own."""
    script = str(Path(bench_executors.__file__))
    command = [sys.executable, script, "--one", json.dumps({"job": "fanout_auto", **shape})]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def main() -> None:
    """Run what is asked for and print a row for each shape."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--only", choices=SHAPES, action="append")
    parser.add_argument("--share", type=int, default=1, help="run one in so many of the records (default: 1)")
    chosen = parser.parse_args()
    print("| records x units | bare, s | fan-out, s | x bare | peak MiB |\n| --- | --- | --- | --- | --- |")
    for name in chosen.only or SHAPES:
        shape = {**SHAPES[name], "records": SHAPES[name]["records"] // chosen.share}
        bare, runs = [], []
        for _ in range(chosen.rounds):
            bare.append(bench_executors.bare_pool(shape["records"], shape["units"], shape["seconds"]))
            runs.append(fan_out(shape))
            print(f"  {name}: bare {bare[-1]:.1f}, {runs[-1]}", file=sys.stderr, flush=True)
        ratio = statistics.median(run["seconds"] / alone for run, alone in zip(runs, bare, strict=True))
        print(
            f"| {shape['records']:,} x {shape['units']} x {name} | {statistics.median(bare):.1f} | "
            f"{statistics.median(run['seconds'] for run in runs):.1f} | {ratio:.2f} | "
            f"{max(run['peak_mb'] for run in runs):.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
