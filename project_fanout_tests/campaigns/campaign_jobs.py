"""A campaign whose list of pages waits for the mail of the first."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from project_fanout.campaigns.assets import MailServerResource, campaign_delivery, campaign_report, recipients
from project_fanout.campaigns.recipients import RecipientList
from project_fanout.campaigns.stages import (
    DEFAULT_OUTPUT_DIR,
    Campaign,
    OutputDir,
    prepare_email,
    read_pages,
    send_email,
)
from project_fanout.engine import Record
from project_fanout.orchestration import build_fanout_asset, fanout_executor
from project_fanout_tests.waiting import wait_until


def slow_pages(
    recipients: RecipientList,
    *,
    campaign: Campaign = "demo",
    output_dir: OutputDir = DEFAULT_OUTPUT_DIR,
    page_size: int = 10,
) -> Iterator[Record]:
    """Yield the second page only when a message of the first is in the Maildir."""
    new = Path(output_dir) / "maildir" / "new"
    for number, record in enumerate(read_pages(recipients, campaign=campaign, page_size=page_size)):
        if number == 1:
            wait_until(lambda: new.is_dir() and any(new.iterdir()), "a message has arrived", 60)
        yield record


slow_delivery = build_fanout_asset(
    "slow_delivery",
    records=slow_pages,
    stages=[prepare_email, send_email],
    resources={"mail_server": MailServerResource()},
)

defs = dg.Definitions(
    [recipients, campaign_delivery, campaign_report, slow_delivery],
    jobs=[
        dg.define_asset_job("slow", [recipients, slow_delivery]),
        dg.define_asset_job("whole", [recipients, campaign_delivery, campaign_report]),
    ],
    executor=fanout_executor,
)


def reconstructable(name: str) -> Any:
    """Return *name* as `dagster.execute_job` takes it."""
    return dg.build_reconstructable_job(__name__, "job", (name,))


def job(name: str) -> dg.JobDefinition:
    """Return the job *name*, for `dagster.reconstructable`."""
    return defs.resolve_job_def(name)


def config(
    folder: Path, *, generated: int, asset: str = "campaign_delivery", **params: Any
) -> dict[str, Any]:
    """Return the run config of a campaign whose files are all in *folder*."""
    report = {"campaign_report": {"config": {"output_dir": str(folder)}}}
    return {
        "ops": {
            **(report if asset == "campaign_delivery" else {}),
            "recipients": {"config": {"generated": generated, "output_dir": str(folder)}},
            asset: {"config": {"params": {"output_dir": str(folder), **params}}},
        }
    }


if __name__ == "__main__":
    # Started by a test, which kills it.
    home, run_config, failed_run = sys.argv[1:]
    with dg.DagsterInstance.from_config(home) as instance:
        again = dg.build_reconstructable_job(
            "project_fanout_tests.campaigns.campaign_jobs", "job", ("whole",)
        )
        options = dg.ReexecutionOptions.from_failure(failed_run, instance) if failed_run else None
        dg.execute_job(again, instance, run_config=json.loads(run_config), reexecution_options=options)
