"""The asset of the fault tests over both executors; as a script it is a run in a process of its own."""

import sys
from typing import Any

import dagster as dg
import pandas as pd

from project_fanout.orchestration import LedgerResource, build_fanout_asset, fanout_executor
from project_fanout_tests.orchestration.fault_work import (
    die_if_told,
    note,
    numbered_records,
    split,
    square,
)

EXECUTORS = {
    "fanout": fanout_executor,
    "fanout without a ledger": fanout_executor,
    "in_process": dg.in_process_executor,
}
#: Few enough that some records have not been started when the run is killed.
CONFIG = {name: {"execution": {"config": {"max_concurrent": 3}}} for name in EXECUTORS} | {"in_process": {}}


@dg.success_hook
def after_step(context: dg.HookContext) -> None:
    """Be killed between the trigger and the first mapped step."""
    if context.step_key.endswith("trigger_records"):
        die_if_told("after trigger")


# Not with the work: a worker that imports pandas starts in 0.8 s and not in 0.1 s.
def whole_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table; may be killed before."""
    note("collected -")
    die_if_told("collect")
    return table


squares = build_fanout_asset(
    "squares",
    records=numbered_records,
    stages=[split, square],
    aggregate=whole_table,
    hooks={after_step},
)


def definitions(executor: str) -> dg.Definitions:
    """Return the asset and its job over *executor*, a key of EXECUTORS."""
    jobs = [dg.define_asset_job("squares_job", [squares])]
    resources = {"ledger": LedgerResource(enabled="without a ledger" not in executor)}
    return dg.Definitions([squares], jobs=jobs, executor=EXECUTORS[executor], resources=resources)


def job(executor: str) -> dg.JobDefinition:
    return definitions(executor).resolve_job_def("squares_job")


def run(
    executor: str, instance: dg.DagsterInstance, again: Any = None, **policy: Any
) -> dg.JobExecutionResult:
    """Execute the job in this process, as a re-execution if *again* says of what."""
    ops = {"ops": {"squares": {"config": {"policy": policy}}}}
    reconstructable = dg.build_reconstructable_job(__name__, "job", (executor,))
    return dg.execute_job(
        reconstructable,
        instance,
        run_config={**CONFIG[executor], **ops},
        reexecution_options=again,
    )


if __name__ == "__main__":
    with dg.DagsterInstance.from_config(sys.argv[1]) as its_instance:
        run(sys.argv[2], its_instance)
