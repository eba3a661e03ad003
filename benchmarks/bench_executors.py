"""Compare a bare process pool with the executors that a fan-out can run under, on the same units.

Two workers, a durable Dagster instance on disk, units that burn processor time. The contestants take
turns, so that a drift of the machine's speed hits all alike; printed are medians, and ratios to the
bare pool of the same round.

    python benchmarks/bench_executors.py            # the tables of README, some 12 minutes
    python benchmarks/bench_executors.py --rounds 1 --only small
"""

import argparse
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import dagster as dg  # noqa: E402  # after the path is set, so that the script runs from any folder
import fanout_jobs  # noqa: E402  # likewise

_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
REPORT = HERE / "results"
SIZES = {
    "small": {"records": 10, "units": 20, "seconds": 0.02},
    "large": {"records": 100, "units": 20, "seconds": 0.02},
}
CONTESTANTS = {
    "small": ("fanout_parallel", "fanout_sequential", "in_process", "multiprocess"),
    "large": ("fanout_parallel", "fanout_sequential"),
}
LABELS = {
    "bare_pool": "bare `ProcessPoolExecutor`",
    "fanout_parallel": "`fanout_executor`, parallel",
    "fanout_sequential": "`fanout_executor`, sequential",
    "in_process": "`in_process_executor`, same pool",
    "multiprocess": "`multiprocess_executor` (Dagster's default)",
}


def bare_pool(records: int, units_each: int, seconds: float) -> float:
    """Return the seconds of the units in a bare pool; no record, no outcome, nothing kept.

    In a process that has not loaded Dagster: forked from there, the pool's workers start at once.
    """
    code = (
        "import sys, time, units; from concurrent.futures import ProcessPoolExecutor; began = time.perf_counter()\n"
        "with ProcessPoolExecutor(int(sys.argv[1])) as pool:\n"
        "    list(pool.map(units.burn_one, [float(sys.argv[3])] * int(sys.argv[2])))\n"
        "print(time.perf_counter() - began)"
    )
    numbers = [str(fanout_jobs.WORKERS), str(records * units_each), str(seconds)]
    done = subprocess.run(
        [sys.executable, "-c", code, *numbers],
        cwd=HERE,
        env=_ENVIRONMENT,
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def run_job(name: str, config: dict[str, Any]) -> float:
    """Return the seconds of the job *name* on a durable instance of its own, which is there before."""
    with tempfile.TemporaryDirectory() as home:
        instance = dg.DagsterInstance.local_temp(home)
        instance.get_runs(limit=1)
        job = dg.reconstructable(getattr(fanout_jobs, name))
        run_config = {
            "ops": {"burned": {"config": {"params": config}}},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        }
        began = time.perf_counter()
        result = dg.execute_job(job, instance, run_config=run_config)
        taken = time.perf_counter() - began
        if not result.success:
            failures = [event.message for event in result.all_events if event.is_failure]
            raise SystemExit(f"{name} has failed: {failures}")
        counted = result.asset_materializations_for_node("burned.collect_records")[0].metadata["units"].value
        expected = config["records"] * config["units"]
        if counted != expected:
            raise SystemExit(f"{name} has accounted for {counted} units, expected {expected}")
        instance.dispose()
        return taken


def compare(size: str, rounds: int) -> dict[str, Any]:
    """Return median seconds of each contestant, and the median of its ratios to the bare pool."""
    shape = SIZES[size]
    seconds: dict[str, list[float]] = {"bare_pool": []} | {name: [] for name in CONTESTANTS[size]}
    for _ in range(rounds):
        seconds["bare_pool"].append(bare_pool(int(shape["records"]), int(shape["units"]), shape["seconds"]))
        for name in CONTESTANTS[size]:
            seconds[name].append(run_job(name, shape))
            print(f"  {size}: {name} {seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)
    ideal = shape["records"] * shape["units"] * shape["seconds"] / fanout_jobs.WORKERS
    return {
        name: {
            "seconds": statistics.median(taken),
            "to_ideal": statistics.median(taken) / ideal,
            "to_bare": statistics.median(
                t / bare for t, bare in zip(taken, seconds["bare_pool"], strict=True)
            ),
        }
        for name, taken in seconds.items()
    }


def growth(rounds: int, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Return seconds a record and the peak memory of the run's process for each number of records."""
    found = []
    for records in sizes:
        runs = []
        for _ in range(rounds if records <= 1000 else 1):
            command = [
                sys.executable,
                __file__,
                "--one",
                json.dumps({"records": records, "units": 10, "seconds": 0.001}),
            ]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            runs.append(json.loads(output.splitlines()[-1]))
            print(f"  growth: {records} records {runs[-1]}", file=sys.stderr, flush=True)
        found.append(
            {
                "records": records,
                "runs": len(runs),
                "ms_per_record": statistics.median(run["seconds"] for run in runs) / records * 1000,
                "peak_mb": statistics.median(run["peak_mb"] for run in runs),
            }
        )
    return found


def one_run(config: dict[str, Any]) -> None:
    """Run once in this process and print seconds and peak memory as JSON."""
    import resource  # noqa: PLC0415  # needed here alone

    # Once before, so that imports and the first instance are not counted.
    job = config.pop("job", "fanout_parallel")
    run_job(job, {"records": 2, "units": 1, "seconds": 0})
    cpu = time.process_time()
    taken = run_job(job, config)
    used = {
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps({"seconds": taken, **used}))


def streaming(rounds: int) -> dict[str, float]:
    """Return seconds of a run whose records take 1 s each to find, as its units take to process."""
    shape = {"records": 20, "units": 10, "seconds": 0.1, "seconds_to_find": 1.0}
    taken = [run_job("fanout_parallel", shape) for _ in range(rounds)]
    return {"seconds": statistics.median(taken), "limit": 1.15 * 20 + 2}


def machine() -> str:
    """Return what the figures were measured on, in a few words."""
    today = datetime.now(timezone.utc).date()
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{today}, {os.cpu_count()} cores, {system}, dagster {dg.__version__}"


def table(size: str, compared: dict[str, Any]) -> list[str]:
    """Return a Markdown table of one size."""
    shape = SIZES[size]
    lines = [
        f"### {shape['records']} records x {shape['units']} units x {shape['seconds'] * 1000:.0f} ms",
        "",
        "| | seconds | x ideal | x bare pool |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {LABELS[name]} | {each['seconds']:.2f} | {each['to_ideal']:.2f} | {each['to_bare']:.2f} |"
        for name, each in compared.items()
    ]
    return [*lines, ""]


def chart(results: dict[str, Any], path: Path) -> None:
    """Draw the ratios to the bare pool."""
    import matplotlib as mpl  # noqa: PLC0415  # an extra, and only for this

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  # likewise

    sizes = [size for size in SIZES if size in results]
    figure, axes = plt.subplots(
        len(sizes), 1, figsize=(9, 2.6 * len(sizes)), layout="constrained", squeeze=False
    )
    for axis, size in zip(axes[:, 0], sizes, strict=True):
        names = list(results[size])[::-1]
        ratios = [results[size][name]["to_bare"] for name in names]
        colours = ["#2b6cb0" if name.startswith("fanout") else "#a0aec0" for name in names]
        bars = axis.barh([LABELS[name].replace("`", "") for name in names], ratios, color=colours)
        axis.bar_label(bars, [f" {ratio:.2f}" for ratio in ratios])
        shape = SIZES[size]
        axis.set_title(
            f"{shape['records']} records x {shape['units']} units x {shape['seconds'] * 1000:.0f} ms",
            loc="left",
        )
        axis.set_xlabel("wall time, bare pool = 1 (less is better)")
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.12)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Run what is asked for, print the tables, and write them with the chart to `benchmarks/results`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each contestant runs (default 3)")
    parser.add_argument("--only", choices=["small", "large", "growth", "streaming"], action="append")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if arguments.one:
        one_run(arguments.one)
        return
    chosen = arguments.only or ["small", "large", "growth", "streaming"]
    results: dict[str, Any] = {size: compare(size, arguments.rounds) for size in SIZES if size in chosen}
    lines = [f"Medians of {arguments.rounds}; {machine()}.", ""]
    for size, compared in results.items():
        lines += table(size, compared)
    if "growth" in chosen:
        lines += [
            "### Many records (10 units x 1 ms each)",
            "",
            "| records | runs | ms per record | peak memory, MB |",
            "| --- | --- | --- | --- |",
        ]
        lines += [
            f"| {each['records']:,} | {each['runs']} | {each['ms_per_record']:.1f} | {each['peak_mb']:.0f} |"
            for each in growth(arguments.rounds, (100, 1000, 5000))
        ]
        lines.append("")
    if "streaming" in chosen:
        streamed = streaming(arguments.rounds)
        lines += [
            f"Streaming: 20 records that take 1 s each to find, with 1 s of units each: {streamed['seconds']:.1f} s "
            f"(limit {streamed['limit']:.1f} s).",
            "",
        ]
    print("\n".join(lines))
    REPORT.mkdir(exist_ok=True)
    (REPORT / "executors.md").write_text("\n".join(lines))
    if results:
        chart(results, REPORT / "executors.png")


if __name__ == "__main__":
    main()
