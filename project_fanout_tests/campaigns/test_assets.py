"""The campaign's assets, run as Dagster runs them."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime, timezone
from email.utils import parseaddr
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from project_fanout.campaigns.actions import send_emails
from project_fanout.campaigns.assets import (
    MailServerResource,
    ReportConfig,
    campaign_delivery,
    campaign_report,
    recipients,
)
from project_fanout.campaigns.errors import CampaignError
from project_fanout.campaigns.jobs import campaign_job, weekly_campaign
from project_fanout.campaigns.outcomes import deliveries_table
from project_fanout.campaigns.recipients import RecipientList, build_list
from project_fanout.campaigns.settings import MailServer
from project_fanout.campaigns.stages import prepare_email, send_email
from project_fanout.definitions import defs
from project_fanout.engine import Unit
from project_fanout.engine.errors import ToleranceExceededError
from project_fanout.engine.stages import describe_stage
from project_fanout.orchestration import UnitPoolResource
from project_fanout_tests.campaigns import campaign_jobs
from project_fanout_tests.campaigns.servers import (
    FaultyHandler,
    free_port,
    messages,
    recipients_of,
    running,
    scripted,
)
from project_fanout_tests.instances import local_instance

INLINE = UnitPoolResource(kind="inline")
LIST = """email,name,city
ada@post.example,Ada,Bonn
,Nobody,Bonn
"a@post.example, b@post.example",Two,Bonn
line@post.example,"Li\nBcc: all@post.example",Bonn
script@post.example,<script>alert(1)</script>,Bonn
jörg@bücher.example,Jörg,Köln
ADA@post.example ,Ada again,Bonn
incomplete@post.example,Ina,
zoë@xn--bcher-kva.example,Zoë,Köln
zoë@bücher.example,Zoë,Köln
bob@post.example,Bob,Bonn
INCOMPLETE@post.example,Ina,Bonn
incomplete@post.example,Ina again,Bonn
n/a,Unknown,Bonn
n/a,Unknown too,Bonn
"""


def settings(folder: Path, **params: Any) -> dict[str, Any]:
    """Return the run config of a campaign over LIST."""
    (folder / "list.csv").write_text(LIST)
    return {
        "ops": {
            "recipients": {"config": {"source": str(folder / "list.csv"), "output_dir": str(folder)}},
            "campaign_delivery": {
                "config": {"params": {"output_dir": str(folder), "page_size": 4, **params}}
            },
            "campaign_report": {"config": {"output_dir": str(folder)}},
        }
    }


def once(config: dict[str, Any]) -> dict[str, Any]:
    """Return *config* with one attempt for each unit."""
    config["ops"]["campaign_delivery"]["config"]["policy"] = {"max_attempts": 1}
    return config


def run(config: dict[str, Any], **resources: Any) -> dg.ExecuteInProcessResult:
    return dg.materialize_to_memory(
        [recipients, campaign_delivery, campaign_report], run_config=config, resources=resources
    )


def test_a_list_with_bad_recipients(tmp_path: Path) -> None:
    """Everybody who can be written to gets one message, all others are named with the reason."""
    first = run(settings(tmp_path, batch_size=3), unit_pool=INLINE)
    arrived = recipients_of(tmp_path / "maildir")
    again = run(settings(tmp_path, batch_size=3), unit_pool=INLINE)

    table = first.output_for_node("campaign_delivery")
    assert table[["row", "status", "reason"]].fillna("").values.tolist() == [
        [1, "sent", ""],
        [2, "refused", "no address"],
        [3, "refused", "invalid address"],
        [4, "refused", "control character in a header"],
        [5, "sent", ""],
        [6, "sent", ""],
        [7, "duplicate", "same address"],
        [8, "refused", "missing template variable"],
        [9, "sent", ""],
        [10, "duplicate", "same address"],
        [11, "sent", ""],
        [12, "sent", ""],
        [13, "duplicate", "same address"],
        [14, "refused", "invalid address"],
        [15, "refused", "invalid address"],
    ]
    assert "as in row 1" in table["detail"][6]
    assert "as in row 12" in table["detail"][12]
    assert "city" in table["detail"][7]
    assert set(arrived.values()) == {1}
    assert len(arrived) == 6
    script = next(m for m in messages(tmp_path / "maildir") if m["Delivered-To"] == "script@post.example")
    assert parseaddr(script["To"])[1] == "script@post.example"
    assert "<script" not in list(script.iter_parts())[1].get_content()
    assert recipients_of(tmp_path / "maildir") == arrived
    assert set(again.output_for_node("campaign_delivery")["reason"]) >= {"sent before", "no address"}
    assert list((tmp_path / "spool").iterdir()) == []

    report = first.output_for_node("campaign_report")
    assert report["recipients"].sum() == 15
    accounted, got_it = first.get_asset_check_evaluations()[1:]
    assert accounted.passed
    assert (got_it.check_name, got_it.passed) == ("every_recipient_got_the_mail", False)
    assert got_it.severity is dg.AssetCheckSeverity.WARN
    assert got_it.description == "6 of 15 recipients have not been sent to."
    assert {name: got_it.metadata[name].value for name in ("sent", "refused", "failed")} == {
        "sent": 6,
        "refused": 6,
        "failed": 0,
    }
    (event,) = first.asset_materializations_for_node("campaign_report")
    assert [event.metadata[name].value for name in ("sent", "duplicate", "refused")] == [6, 3, 6]
    assert "post.example" in event.metadata["by_domain"].value
    assert "missing template variable" in event.metadata["by_reason"].value
    assert "data:image/svg+xml;base64," in event.metadata["rate"].value
    assert (tmp_path / "rate.svg").read_text().startswith("<svg")


def test_a_text_that_changes_between_two_runs_is_the_one_that_is_sent(tmp_path: Path) -> None:
    """Templates are read anew: a process that has sent the old text sends the new one, never the old again."""
    for part in ("text", "html"):
        (tmp_path / part).write_text("old {{ name }}")
    message = {f"{part}_template": str(tmp_path / part) for part in ("text", "html")}
    run(settings(tmp_path, message=message), unit_pool=INLINE)
    for part in ("text", "html"):
        (tmp_path / part).write_text("new {{ name }}")
    config = settings(tmp_path, message=message)
    (tmp_path / "list.csv").write_text("email,name\nlate@post.example,Late\n")
    run(config, unit_pool=INLINE)

    texts = Counter(
        part.get_content().split()[0] for each in messages(tmp_path / "maildir") for part in each.iter_parts()
    )
    # The one without a city can be written to.
    assert texts == {"old": 12, "new": 2}


def deliveries(*outcomes: tuple[int, str]) -> pd.DataFrame:
    """Return the table of a campaign with these rows and statuses."""
    units = [[row, "ada@post.example", status, None, None, None] for row, status in outcomes]
    [first, last] = [outcomes[0][0], outcomes[-1][0]]
    return deliveries_table(
        pd.DataFrame(
            [
                {
                    "record_key": "page_1",
                    "unit_key": f"{first}-{last}",
                    "status": "succeeded",
                    "deliveries": units,
                }
            ]
        )
    )


@pytest.mark.parametrize(
    ("outcomes", "accounted_for", "got_it"),
    [
        ([(1, "sent"), (2, "duplicate"), (3, "sent")], True, True),
        ([(1, "sent"), (3, "sent")], False, True),
        ([(1, "sent"), (2, "sent"), (2, "sent"), (3, "sent")], False, True),
        ([(1, "sent"), (2, "sent"), (3, "sent"), (4, "sent")], False, True),
        ([(1, "failed"), (2, "failed"), (3, "failed")], True, False),
        ([(1, "sent"), (2, "unknown"), (3, "sent")], True, False),
        ([(1, "sent"), (2, "refused"), (3, "sent")], True, False),
    ],
)
def test_what_the_checks_of_the_report_find(
    tmp_path: Path, outcomes: list[tuple[int, str]], accounted_for: bool, got_it: bool
) -> None:
    """A recipient without an outcome, or with two, fails the first check; one without the mail the second."""
    _, *checks = campaign_report(
        ReportConfig(output_dir=str(tmp_path)),
        RecipientList("list.duckdb", 3, "generated"),
        deliveries(*outcomes),
    )
    assert [(check.check_name, check.passed) for check in checks] == [
        ("every_recipient_is_accounted_for", accounted_for),
        ("every_recipient_got_the_mail", got_it),
    ]
    if outcomes[1][0] == 3:
        assert checks[0].metadata["missing_rows"].value == [2]


def test_real_delivery_needs_a_host_and_the_switch(tmp_path: Path) -> None:
    """With a host alone the server sees nothing; with the switch it gets what was rehearsed before."""
    handler = FaultyHandler(tmp_path / "server")
    with running(handler) as port:
        server = MailServerResource(host="127.0.0.1", port=port, security="none")
        run(settings(tmp_path), mail_server=server, unit_pool=INLINE)
        assert recipients_of(handler.maildir) == {}
        run(settings(tmp_path, deliver=True), mail_server=server, unit_pool=INLINE)
    assert recipients_of(handler.maildir) == recipients_of(tmp_path / "maildir") != {}


def test_the_switch_without_a_host_stops_the_run(tmp_path: Path) -> None:
    """A run that is told to deliver but not where says so and sends nothing."""
    with pytest.raises(ToleranceExceededError, match="mail_server has no host"):
        run(once(settings(tmp_path, deliver=True)), unit_pool=INLINE)
    assert not (tmp_path / "maildir").exists()


@pytest.mark.parametrize("ledger_url", [None, "claims.db", "sqlite:///claims.db"])
def test_real_delivery_keeps_its_claims_in_one_place(
    ledger_url: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claims in a file that depends on the folder of the run would be lost: nothing is sent, and the error says why."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FANOUT_LEDGER_URL", raising=False)
    prepared = prepare_email(Unit("1-5", {"recipients": build_list(tmp_path, generated=5).path})).units[0]
    options = {"deliver": True, "ledger_url": ledger_url}
    with scripted(lambda line: None) as mail:
        mail_server = MailServer(host="127.0.0.1", port=mail.port, security="none")
        with pytest.raises(
            CampaignError, match="set ledger_url or FANOUT_LEDGER_URL to a database, or output_dir"
        ):
            send_email(prepared, mail_server=mail_server, **options)
        assert mail.lines == []
        monkeypatch.setenv("FANOUT_LEDGER_URL", f"sqlite:///{tmp_path}/shared.db")
        for folder in ("one", "another"):
            (tmp_path / folder).mkdir()
            monkeypatch.chdir(tmp_path / folder)
            send_email(prepared, mail_server=mail_server, deliver=True)
        assert set(mail.kept.values()) == {1}
        assert len(mail.kept) == 5


def test_claims_may_be_in_the_home_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """~ is an absolute place: real delivery with ledger_url ~/claims.db keeps its claims there, and sends."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    prepared = prepare_email(Unit("1-5", {"recipients": build_list(tmp_path, generated=5).path})).units[0]
    with scripted(lambda line: None) as mail:
        mail_server = MailServer(host="127.0.0.1", port=mail.port, security="none")
        send_email(prepared, mail_server=mail_server, deliver=True, ledger_url="~/claims.db")
        assert len(mail.kept) == 5
    assert (tmp_path / "claims.db").is_file()


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with local_instance(tmp_path_factory.mktemp("home")) as found:
        yield found


def test_mail_arrives_while_the_list_is_being_read(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """The second page is read only once a message of the first has arrived; the fan-in starts after the last batch."""
    config = campaign_jobs.config(tmp_path, asset="slow_delivery", generated=30, batch_size=5)
    with dg.execute_job(campaign_jobs.reconstructable("slow"), instance, run_config=config) as result:
        assert result.success

    assert len(recipients_of(tmp_path / "maildir")) == 30
    steps: dict[str, list[str]] = {"STEP_START": [], "STEP_SUCCESS": []}
    for entry in instance.all_logs(result.run_id):
        event = entry.dagster_event
        if event and event.event_type_value in steps and event.step_key:
            if event.step_key == "slow_delivery.collect_records" and event.event_type_value == "STEP_START":
                assert len([key for key in steps["STEP_SUCCESS"] if "send_email[" in key]) == 3
                assert "slow_delivery.trigger_records" in steps["STEP_SUCCESS"]
            steps[event.event_type_value].append(event.step_key)


def test_a_run_that_is_executed_again_sends_to_those_who_failed(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """The server is down and all fail; "Re-execute all" with the server up sends to them, and once.

    Nobody else on the machine can look into the folder of the campaign.
    """
    port, handler = free_port(), FaultyHandler(tmp_path / "server")
    folder = tmp_path / "new" / "campaign"
    config = campaign_jobs.config(folder, generated=20, deliver=True, page_size=10, batch_size=5)
    mail_server = {"host": "127.0.0.1", "port": port, "security": "none", "retry_for_s": 0.2}
    config["resources"] = {
        "mail_server": {"config": mail_server},
        "unit_pool": {"config": {"kind": "inline"}},
    }
    tables, parent = [], None
    for server in (nullcontext(), running(handler, port), running(handler, port)):
        options = parent and dg.ReexecutionOptions(parent_run_id=parent)
        with server:
            job = campaign_jobs.reconstructable("whole")
            with dg.execute_job(
                job, instance, run_config=config, reexecution_options=options or None
            ) as result:
                assert result.success
                parent = result.run_id
        tables.append(campaign_jobs.defs.load_asset_value("campaign_delivery", instance=instance))

    reasons = [set(zip(table["status"], table["reason"].fillna(""), strict=True)) for table in tables]
    assert reasons == [{("failed", "server unreachable")}, {("sent", "")}, {("sent", "sent before")}]
    assert set(recipients_of(handler.maildir).values()) == {1}
    assert len(recipients_of(handler.maildir)) == 20
    private = [folder, folder / "spool", *(folder / "journals").iterdir(), handler.maildir]
    assert {each.stat().st_mode & 0o777 for each in private} == {0o700}


@pytest.mark.parametrize("stage", [send_email, send_emails])
def test_no_batch_is_taken_from_the_ledger(stage: Any) -> None:
    """Also in a job request, a batch that succeeded is gone through again: some of it may have failed."""
    assert not describe_stage(stage).reusable
    assert describe_stage(prepare_email).reusable


def test_the_schedule_asks_for_another_campaign_each_week(tmp_path: Path) -> None:
    """The schedule is off until switched on, and its request is a run config that the job takes."""
    assert weekly_campaign.default_status is dg.DefaultScheduleStatus.STOPPED
    assert (weekly_campaign.cron_schedule, weekly_campaign.execution_timezone) == (
        "0 9 * * 1",
        "Europe/Berlin",
    )
    requests = []
    for day in (2, 9):
        context = dg.build_schedule_context(
            scheduled_execution_time=datetime(2026, 11, day, 9, tzinfo=timezone.utc)
        )
        requests.append(weekly_campaign.evaluate_tick(context).run_requests[0])
    assert [request.run_key for request in requests] == ["letter-2026-45", "letter-2026-46"]
    for request in requests:
        assert dg.validate_run_config(defs.resolve_job_def(campaign_job.name), request.run_config)
    names = Counter(json.dumps(request.run_config) for request in requests)
    assert len(names) == 2
