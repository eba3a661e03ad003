"""The asset over `counted_work`; as a script it is a run, or a re-execution, in a process of its own."""

import sys

import dagster as dg

from project_fanout.orchestration import UnitPoolResource, build_fanout_asset, fanout_executor
from project_fanout_tests.engine.pools.ray.counted_work import numbered_records, square

squares = build_fanout_asset("squares", records=numbered_records, stages=[square])


def definitions(address: str, workers: int = 1) -> dg.Definitions:
    """Return the asset and its job on the cluster at *address*, on local processes if that is empty."""
    if address:
        pool = UnitPoolResource(kind="ray", ray_address=address, max_workers=workers)
    else:
        pool = UnitPoolResource(max_workers=workers)
    jobs = [dg.define_asset_job("squares_job", [squares])]
    return dg.Definitions([squares], jobs=jobs, executor=fanout_executor, resources={"unit_pool": pool})


def job(address: str, workers: int) -> dg.JobDefinition:
    return definitions(address, workers).resolve_job_def("squares_job")


def run(instance: dg.DagsterInstance, address: str, workers: int, folder: str) -> dg.JobExecutionResult:
    """Execute the job in this process; if it has failed before, from that failure."""
    again = [dg.ReexecutionOptions.from_failure(failed.run_id, instance) for failed in instance.get_runs()]
    config = {"params": {"folder": folder}, "policy": {"max_failed_ratio": 0.9, "max_attempts": 2}}
    return dg.execute_job(
        dg.build_reconstructable_job(__name__, "job", (address, workers)),
        instance,
        run_config={
            "execution": {"config": {"max_concurrent": 2}},
            "ops": {"squares": {"config": config}},
        },
        reexecution_options=again[0] if again else None,
    )


if __name__ == "__main__":
    home, its_address, its_workers, its_folder = sys.argv[1:]
    with dg.DagsterInstance.from_config(home) as its_instance:
        run(its_instance, its_address, int(its_workers), its_folder)
