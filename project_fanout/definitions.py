"""What Dagster loads: assets, jobs, schedules and resources, wired together."""

import dagster as dg

from project_fanout.campaigns import assets as campaigns
from project_fanout.campaigns.jobs import campaign_job, weekly_campaign
from project_fanout.forks import assets as forks
from project_fanout.images import assets as images
from project_fanout.images.jobs import daily_images, images_job
from project_fanout.images.warehouse import Warehouse, database_path
from project_fanout.orchestration import fanout_executor

defs = dg.Definitions(
    assets=dg.load_assets_from_modules([images, forks, campaigns]),
    jobs=[images_job, campaign_job],
    schedules=[daily_images, weekly_campaign],
    resources={
        images.WAREHOUSE: Warehouse(database=database_path()),
        forks.REMOTE_FILES: forks.RemoteFilesResource(),
        campaigns.MAIL_SERVER: campaigns.MailServerResource(),
    },
    executor=fanout_executor,
)
