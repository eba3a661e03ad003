"""What Dagster loads: assets, jobs, schedules and resources, wired together."""

import dagster as dg

from project_fanout.forks import assets as forks
from project_fanout.images import assets as images
from project_fanout.images.jobs import daily_images, images_job
from project_fanout.images.warehouse import Warehouse, database_path
from project_fanout.orchestration import fanout_executor

defs = dg.Definitions(
    assets=dg.load_assets_from_modules([images, forks]),
    jobs=[images_job],
    schedules=[daily_images],
    resources={
        images.WAREHOUSE: Warehouse(database=database_path()),
        forks.REMOTE_FILES: forks.RemoteFilesResource(),
    },
    executor=fanout_executor,
)
