"""What the ledger costs: 100 records of 20 units of 20 ms, with and without it.

Prints the seconds of each run and the ratio of the medians; the goal is 1.05 at most. Runs with and without
the ledger take turns, so that a machine that gets slower or faster does so for both. The CPU seconds are those of
the run's own process, without its workers; they tell also where other programs disturb the clock.

    python benchmarks/bench_ledger.py --rounds 3
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from project_fanout.engine import Record, Unit
from project_fanout.orchestration import LedgerResource, build_fanout_asset, fanout_executor

RECORDS, UNITS, UNIT_S = 100, 20, 0.02


def records(*, count: int = RECORDS) -> Iterator[Record]:
    for number in range(count):
        yield Record(f"record {number}", [Unit(str(unit), unit) for unit in range(UNITS)])


def burn(unit: Unit) -> dict[str, int]:
    """Keep a CPU busy for 20 ms of its time."""
    end = time.process_time() + UNIT_S
    while time.process_time() < end:
        pass
    return {"payload": unit.payload}


def job(ledger: str) -> dg.JobDefinition:
    """Return the benchmark's job; *ledger* is on or off."""
    sys.path.insert(0, str(Path(__file__).parent))
    import bench_ledger  # noqa: PLC0415  # a stage is imported by name, so it cannot be in __main__

    asset = build_fanout_asset("burned", records=bench_ledger.records, stages=[bench_ledger.burn])
    definitions = dg.Definitions(
        [asset],
        jobs=[dg.define_asset_job("bench", [asset])],
        resources={"ledger": LedgerResource(enabled=ledger == "on")},
        executor=fanout_executor,
    )
    return definitions.resolve_job_def("bench")


def seconds(ledger: str, count: int) -> tuple[float, float]:
    """Run the job once on a fresh instance; return the seconds by the clock, and of CPU in this process."""
    with tempfile.TemporaryDirectory() as home:
        Path(home, "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        with dg.DagsterInstance.from_config(home) as instance:
            begin, cpu = time.perf_counter(), time.process_time()
            result = dg.execute_job(
                dg.build_reconstructable_job("bench_ledger", "job", (ledger,)),
                instance,
                run_config={"ops": {"burned": {"config": {"params": {"count": count}}}}},
            )
            took = time.perf_counter() - begin, time.process_time() - cpu
    if not result.success:
        sys.exit("the run failed")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs with and without the ledger (default: 3)")
    parser.add_argument("--records", type=int, default=RECORDS, help=f"default: {RECORDS}")
    chosen = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    took: dict[str, list[tuple[float, float]]] = {"off": [], "on": []}
    for number in range(chosen.rounds):
        order = ["off", "on"] if number % 2 == 0 else ["on", "off"]
        for ledger in order:
            took[ledger].append(seconds(ledger, chosen.records))
    print(f"{chosen.records} records x {UNITS} units x {UNIT_S * 1000:g} ms, {os.cpu_count()} CPUs")
    medians = {}
    for ledger, found in took.items():
        clock, cpu = (statistics.median(run[index] for run in found) for index in (0, 1))
        medians[ledger] = clock
        each_run = " ".join(f"{run[0]:.2f}" for run in found)
        print(f"ledger {ledger:>3}: {each_run} s, median {clock:.2f} s; CPU, median {cpu:.2f} s")
    print(f"ratio of medians: {medians['on'] / medians['off']:.3f}")


if __name__ == "__main__":
    main()
