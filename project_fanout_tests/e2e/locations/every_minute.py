"""The project's code location with one change: its daily schedule has a tick every minute."""

import dagster as dg

from project_fanout.definitions import defs as project
from project_fanout.images.jobs import daily_images

defs = dg.Definitions(
    assets=project.assets,
    asset_checks=project.asset_checks,
    jobs=project.jobs,
    resources=project.resources,
    executor=project.executor,
    schedules=[
        dg.ScheduleDefinition(
            name=daily_images.name,
            job=daily_images.job,
            cron_schedule="* * * * *",
            execution_timezone=daily_images.execution_timezone,
            default_status=daily_images.default_status,
        )
    ],
)
