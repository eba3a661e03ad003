"""What a mapped step costs the run's process: time, memory, and how both grow with their number.

Run it from the repository's root:

    python benchmarks/steps.py                         # 100 and 1,000 steps, this executor and in-process
    python benchmarks/steps.py --steps 100 1000 5000 --executors fanout
    python benchmarks/steps.py --postgres postgresql+psycopg2://user@localhost:5432/dagster   # an empty database

Each figure is a run in a process of its own over a durable instance with Dagster's defaults. The
steps do nothing, so that all that is measured is what surrounds them; `empty` is the same job
with one step. A step has one input, one output and an fs IO manager, and writes 13 events.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from project_fanout.orchestration.executor import fanout_executor

EXECUTORS = {"fanout": fanout_executor, "in_process": dg.in_process_executor}


@dg.op(out=dg.DynamicOut(int))
def emit() -> Iterator[dg.DynamicOutput[int]]:
    for number in range(int(os.environ["BENCHMARK_STEPS"])):
        yield dg.DynamicOutput(number, f"k{number}")


@dg.op
def pass_on(number: int) -> int:
    return number


@dg.op
def count(numbers: list[int]) -> int:
    return len(numbers)


@dg.graph
def fan_out() -> None:
    count(emit().map(pass_on).collect())


def build_job(executor: str) -> dg.JobDefinition:
    """Return the job over *executor*, a key of EXECUTORS."""
    return fan_out.to_job(name="fan_out", executor_def=EXECUTORS[executor])


def measure(executor: str, home: str) -> dict[str, float]:
    """Execute the job in this process; return seconds of wall and CPU, and peak memory in MB."""
    job = dg.build_reconstructable_job(
        "steps", "build_job", (executor,), reconstructor_working_directory=str(Path(__file__).parent)
    )
    with dg.DagsterInstance.from_config(home) as instance:
        wall, cpu = time.perf_counter(), time.process_time()
        result = dg.execute_job(job, instance)
        figures = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        if not result.success:
            sys.exit(
                f"the run has failed: {[event.message for event in result.all_events if event.is_failure]}"
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**figures, "megabytes": peak}


def run(executor: str, steps: int, settings: dict[str, object]) -> dict[str, float]:
    """Measure in a process of its own, which is how Dagster runs a job."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "dagster.yaml").write_text(json.dumps(settings))
        done = subprocess.run(
            [sys.executable, __file__, "--measure", executor, home],
            env={**os.environ, "BENCHMARK_STEPS": str(steps), "DAGSTER_HOME": home},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--executors", nargs="+", choices=EXECUTORS, default=list(EXECUTORS))
    parser.add_argument("--postgres", help="URL of an empty database to keep runs and events in")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return
    settings: dict[str, object] = {}
    if options.postgres:
        settings["storage"] = {"postgres": {"postgres_url": options.postgres}}
    print("| executor | mapped steps | wall s | ms a step | CPU ms a step | peak MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for executor in options.executors:
        empty = run(executor, 1, settings)
        print(f"| {executor} | 1 | {empty['wall']:.2f} | | | {empty['megabytes']:.0f} |", flush=True)
        for steps in options.steps:
            found = run(executor, steps, settings)
            wall, cpu = ((found[what] - empty[what]) * 1000 / (steps - 1) for what in ("wall", "cpu"))
            print(
                f"| {executor} | {steps:,} | {found['wall']:.2f} | {wall:.1f} | {cpu:.1f} | {found['megabytes']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
