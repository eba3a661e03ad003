"""The asset of `poison_work`; as a script, a run of it."""

import sys

import dagster as dg

from project_fanout.engine import FanoutPolicy
from project_fanout.orchestration import build_fanout_asset, fanout_executor
from project_fanout_tests.orchestration.poison_work import eat, records

eaten = build_fanout_asset(
    "eaten", records=records, stages=[eat], policy=FanoutPolicy(strategy="sequential", max_workers=1)
)


def job() -> dg.JobDefinition:
    definitions = dg.Definitions(
        [eaten], jobs=[dg.define_asset_job("eaten_job", [eaten])], executor=fanout_executor
    )
    return definitions.resolve_job_def("eaten_job")


def run(instance: dg.DagsterInstance, again: str | None = None, **policy: float) -> dg.JobExecutionResult:
    """Execute the job, as a re-execution of the run *again*."""
    return dg.execute_job(
        dg.build_reconstructable_job(__name__, "job"),
        instance,
        run_config={"ops": {"eaten": {"config": {"policy": policy}}}},
        reexecution_options=dg.ReexecutionOptions(parent_run_id=again) if again else None,
    )


if __name__ == "__main__":
    with dg.DagsterInstance.from_config(sys.argv[1]) as its_instance:
        result = run(its_instance, sys.argv[2] or None, max_attempts=2, max_failed_ratio=0.5)
        sys.exit(not result.success)
