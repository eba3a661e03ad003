"""The definitions of the images workload."""

import dagster as dg

from project_fanout.images import assets
from project_fanout.images.checks import intact_check
from project_fanout.images.jobs import daily_images, images_job
from project_fanout.images.sensor import FANOUTS, new_photographs
from project_fanout.images.warehouse import Warehouse, database_path

defs = dg.Definitions(
    assets=dg.load_assets_from_modules([assets]),
    asset_checks=[intact_check(fanout) for fanout in FANOUTS],
    jobs=[images_job],
    schedules=[daily_images],
    sensors=[new_photographs],
    resources={assets.WAREHOUSE: Warehouse(database=database_path())},
)
