"""The project's code location with one change: its daily schedule has a tick every minute."""

import dagster as dg

from project_fanout import definitions
from project_fanout.images.jobs import daily_images

defs = dg.Definitions(
    assets=definitions.defs.assets,
    asset_checks=definitions.defs.asset_checks,
    jobs=definitions.defs.jobs,
    resources=definitions.defs.resources,
    executor=definitions.defs.executor,
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
