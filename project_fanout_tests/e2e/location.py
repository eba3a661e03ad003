"""A code location for what the project's own has no job for; its assets are quickly made."""

import dagster as dg

from project_fanout.engine import FanoutPolicy
from project_fanout.orchestration import build_fanout_asset, fanout_executor
from project_fanout_tests.e2e.imports import imported, two_records
from project_fanout_tests.e2e.paging import develop, read_albums
from project_fanout_tests.orchestration.fault_jobs import squares

#: Its units tell what their worker has imported. Both records are one step, which may be a process of its own.
worker_imports = build_fanout_asset(
    "worker_imports", records=two_records, stages=[imported], policy=FanoutPolicy(records_per_step=2)
)
albums = build_fanout_asset("albums", records=read_albums, stages=[develop])
every_minute = dg.ScheduleDefinition(
    name="every_minute",
    job=dg.define_asset_job("scheduled_job", [worker_imports]),
    cron_schedule="* * * * *",
    execution_timezone="Europe/Berlin",
)

defs = dg.Definitions(
    [squares, worker_imports, albums],
    jobs=[
        dg.define_asset_job("squares_job", [squares]),
        dg.define_asset_job("albums_job", [albums], tags={"dagster/max_retries": "0"}),
        dg.define_asset_job("workers_job", [worker_imports], executor_def=dg.multi_or_in_process_executor),
    ],
    schedules=[every_minute],
    executor=fanout_executor,
)
