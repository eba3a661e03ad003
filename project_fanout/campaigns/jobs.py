"""The campaign job, and a schedule that runs it with its request as run config."""

from typing import Any

import dagster as dg

from project_fanout.campaigns.assets import GROUP

campaign_job = dg.define_asset_job(
    "campaign_job",
    selection=dg.AssetSelection.groups(GROUP),
    description="Read the list, prepare and send the campaign, and report on it.",
)


def weekly_request(year: int, week: int) -> dict[str, Any]:
    """Return the run config of one week's campaign: another name each week, so that everybody gets each."""
    return {
        "ops": {
            "recipients": {"config": {"generated": 1000}},
            "campaign_delivery": {"config": {"params": {"campaign": f"letter-{year}-{week:02}"}}},
        }
    }


@dg.schedule(
    name="weekly_campaign",
    job=campaign_job,
    cron_schedule="0 9 * * 1",
    # Without a time zone a schedule follows UTC, and its hour moves with daylight saving time.
    execution_timezone="Europe/Berlin",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Sends the week's letter on Mondays at 09:00 in Berlin, to the sink on this machine. Off until it is "
    "switched on.",
)
def weekly_campaign(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Ask for this week's campaign; a week that has been asked for is not asked for again."""
    year, week, _ = context.scheduled_execution_time.isocalendar()
    return dg.RunRequest(run_key=f"letter-{year}-{week:02}", run_config=weekly_request(year, week))
