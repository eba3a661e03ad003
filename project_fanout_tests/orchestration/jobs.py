"""A code location for the tests that need processes: the same assets under each of Dagster's executors."""

import dagster as dg

from project_fanout.engine import FanoutPolicy
from project_fanout.orchestration import build_fanout_asset
from project_fanout_tests.engine import runner_stages as stages

chain = build_fanout_asset(
    "chain",
    records=stages.mixed_records,
    stages=[stages.split, stages.weigh],
    policy=FanoutPolicy(max_failed_ratio=1, records_per_step=2),
)
held = build_fanout_asset("held", records=stages.some_records, stages=[stages.hold])

# A step's process starts twice as fast when it need not import Dagster again.
_FORKSERVER = {"start_method": {"forkserver": {"preload_modules": [__name__]}}, "max_concurrent": 2}

defs = dg.Definitions(
    assets=[chain, held],
    jobs=[
        dg.define_asset_job("in_process", [chain], executor_def=dg.in_process_executor),
        dg.define_asset_job(
            "multiprocess", [chain], executor_def=dg.multiprocess_executor.configured(_FORKSERVER)
        ),
        dg.define_asset_job("held_job", [held], executor_def=dg.in_process_executor),
        dg.define_asset_job(
            "held_multiprocess", [held], executor_def=dg.multiprocess_executor.configured(_FORKSERVER)
        ),
    ],
)


def multiprocess() -> dg.JobDefinition:
    """Return the job as a step's process finds it."""
    return defs.resolve_job_def("multiprocess")


def held_job() -> dg.JobDefinition:
    """Return the job as another process finds it."""
    return defs.resolve_job_def("held_job")
