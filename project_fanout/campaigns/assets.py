"""The assets of the campaigns workload: recipients, deliveries, report."""

import base64
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
from pydantic import Field, PrivateAttr

from project_fanout.campaigns import report
from project_fanout.campaigns.actions import ACTIONS
from project_fanout.campaigns.outcomes import check_not_stopped, deliveries_table
from project_fanout.campaigns.recipients import RecipientList, build_list
from project_fanout.campaigns.settings import MailServer, MailServerOfRun
from project_fanout.campaigns.stages import DEFAULT_OUTPUT_DIR, prepare_email, read_pages, send_email
from project_fanout.common import replace_file
from project_fanout.engine import FanoutPolicy
from project_fanout.extras import load
from project_fanout.forks.request_asset import build_request_asset
from project_fanout.orchestration import build_fanout_asset
from project_fanout.orchestration.markdown_table import markdown_table
from project_fanout.orchestration.settings import resource_of

GROUP = "campaigns"
#: Key of the resource that says which server takes the mail.
MAIL_SERVER = "mail_server"
ALL_ACCOUNTED_FOR = "every_recipient_is_accounted_for"
ALL_GOT_IT = "every_recipient_got_the_mail"

_SHOWN = 20  # missing rows that an event's metadata names


class RecipientsConfig(dg.Config):
    """Where the recipients come from."""

    source: str | None = Field(
        default=None,
        description="A .csv or .parquet file with a column `email`; its other columns are template variables. "
        "Default: a generated list.",
    )
    generated: int = Field(
        default=100_000, ge=0, description="Number of recipients to generate if there is no source."
    )
    allow_empty: bool = Field(
        default=False, description="Whether the list may be empty. Default: an empty list fails the run."
    )
    output_dir: str = Field(default=DEFAULT_OUTPUT_DIR, description="Folder that the list is kept in.")


class ReportConfig(dg.Config):
    """Where the report's picture goes."""

    output_dir: str = Field(default=DEFAULT_OUTPUT_DIR, description="Folder for the picture of the rate.")


@dg.asset(group_name=GROUP, kinds={"python", "duckdb"})
def recipients(config: RecipientsConfig) -> dg.MaterializeResult[RecipientList]:
    """Who the campaign goes to: a table in a DuckDB file of its own, which never changes again.

    A run that is resumed, and two runs at once, read the same list whatever becomes of its source.
    """
    folder = Path(config.output_dir).expanduser().absolute()
    found = build_list(folder, config.source, config.generated, allow_empty=config.allow_empty)
    metadata: dict[str, Any] = {
        "dagster/row_count": found.rows,
        "file": dg.MetadataValue.path(found.path),
        "source": found.source,
    }
    return dg.MaterializeResult(value=found, metadata=metadata)


class MailServerResource(resource_of(MailServer, __name__)):  # type: ignore[misc]  # its fields are the dataclass's
    """The SMTP server of campaigns; without a host mail is kept in a Maildir on this machine."""

    _run: str = PrivateAttr(default="")

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Note which run sends."""
        self._run = context.run.run_id if context.run else ""

    def for_units(self) -> MailServer:
        """Return the settings as the stage takes them, and which run sends."""
        return MailServerOfRun(**asdict(super().for_units()), run=self._run)


_MAIL_SERVER = MailServerResource()


def _collected(frame: pd.DataFrame) -> dg.MaterializeResult[pd.DataFrame]:
    check_not_stopped(frame)
    deliveries = deliveries_table(frame)
    return dg.MaterializeResult(value=deliveries, metadata={**report.totals(deliveries)})


campaign_delivery = build_fanout_asset(
    "campaign_delivery",
    records=read_pages,
    stages=[prepare_email, send_email],
    aggregate=_collected,
    resources={MAIL_SERVER: _MAIL_SERVER},
    # A page or batch fails only when something is wrong with the settings or the machine: then a new worker
    # may help. Whom a batch has already sent to, the claims know.
    policy=FanoutPolicy(max_attempts=3, max_failed_ratio=0.1),
    group_name=GROUP,
    kinds={"python"},
    description="One row per recipient: sent, refused, failed, unknown or duplicate, and why. Pages of the list are "
    "prepared and then sent in batches, over SMTP, and nobody gets the same message twice.",
)


# With the tasks of the other workload that has any, where its extra is installed.
_image_tasks = load("project_fanout.forks.assets", "images")

job_request = build_request_asset(
    "job_request",
    actions=[*(_image_tasks.ACTIONS if _image_tasks else []), *ACTIONS],
    resources={**(_image_tasks.RESOURCES if _image_tasks else {}), MAIL_SERVER: _MAIL_SERVER},
    group_name="job_requests",
    kinds={"python"},
    description="The job request that its run config gives: an action, its payload, what it fans out over, and the "
    "actions that follow. Without run config it is an empty one.",
)


@dg.asset(
    group_name=GROUP,
    kinds={"python"},
    check_specs=[
        dg.AssetCheckSpec(
            ALL_ACCOUNTED_FOR,
            asset="campaign_report",
            description="Each recipient of the list has exactly one outcome.",
        ),
        dg.AssetCheckSpec(
            ALL_GOT_IT,
            asset="campaign_report",
            description="Each address of the list has been sent to, by this run or an earlier one.",
        ),
    ],
)
def campaign_report(
    config: ReportConfig, recipients: RecipientList, campaign_delivery: pd.DataFrame
) -> Iterator[dg.Output[pd.DataFrame] | dg.AssetCheckResult]:
    """How many were sent, refused, failed, unknown or duplicates, by domain and by reason, and how fast."""
    table = report.report_table(campaign_delivery)
    picture = report.rate_plot(report.rate_over_time(campaign_delivery))
    file = Path(config.output_dir).expanduser().absolute() / "rate.svg"
    replace_file(file, picture.encode())
    inline = base64.b64encode(picture.encode()).decode()
    yield dg.Output(
        table,
        metadata={
            **report.totals(campaign_delivery),
            "by_domain": markdown_table(report.by_domain(table)),
            "by_reason": markdown_table(report.by_reason(table)),
            "rate": dg.MetadataValue.md(f"![messages a second](data:image/svg+xml;base64,{inline})"),
            "rate_file": dg.MetadataValue.path(str(file)),
        },
    )
    rows = campaign_delivery["row"]
    missing = set(recipients.all) - set(rows)
    yield dg.AssetCheckResult(
        check_name=ALL_ACCOUNTED_FOR,
        passed=not missing and len(rows) == recipients.rows,
        metadata={
            "recipients": recipients.rows,
            "outcomes": len(rows),
            "missing_rows": sorted(missing)[:_SHOWN],
        },
    )
    counts = report.totals(campaign_delivery)
    without = sum(count for status, count in counts.items() if status not in ("sent", "duplicate"))
    nobody = not counts["sent"]
    if without and nobody:
        outcome = f"Nobody of {len(rows):,} recipients has been sent to."
    elif without:
        outcome = f"{without:,} of {len(rows):,} recipients have not been sent to."
    elif len(rows):
        outcome = "Everybody has been sent to."
    else:
        outcome = f"Nobody has been sent to: the list has {recipients.rows:,} recipients."
    yield dg.AssetCheckResult(
        check_name=ALL_GOT_IT,
        # A list of nobody has been allowed by the run.
        passed=not without and (len(rows) > 0 or not recipients.rows),
        # A list with a bad address is no error of the run; a run that has sent nothing must not look like success.
        severity=dg.AssetCheckSeverity.ERROR if nobody else dg.AssetCheckSeverity.WARN,
        description=outcome,
        metadata={**counts},
    )
