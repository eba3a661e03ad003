"""The images job and the schedule that runs it every morning."""

import dagster as dg

from project_fanout.images.assets import GROUP

images_job = dg.define_asset_job(
    "images_job",
    selection=dg.AssetSelection.groups(GROUP),
    description="Catalogue the photographs, render them for the web and report on it.",
)

daily_images = dg.ScheduleDefinition(
    name="daily_images",
    job=images_job,
    cron_schedule="0 6 * * *",
    # Without a time zone a schedule follows UTC, and its hour moves with daylight saving time.
    execution_timezone="Europe/Berlin",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Renders the photographs every day at 06:00 in Berlin. Off until it is switched on.",
)
