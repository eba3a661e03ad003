"""The definitions of the campaigns workload."""

import dagster as dg

from project_fanout.campaigns import assets
from project_fanout.campaigns.jobs import campaign_job, weekly_campaign

defs = dg.Definitions(
    assets=dg.load_assets_from_modules([assets]),
    jobs=[campaign_job],
    schedules=[weekly_campaign],
    resources={assets.MAIL_SERVER: assets.MailServerResource()},
)
