"""docs/campaigns.md says what is so."""

import shlex
from dataclasses import fields
from pathlib import Path

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner

from project_fanout.campaigns.assets import job_request
from project_fanout.campaigns.report import STATUSES
from project_fanout.campaigns.settings import Destination, MailServer, Message
from project_fanout.command.main import fanout
from project_fanout.definitions import defs
from project_fanout.engine.ledger import Claims
from project_fanout_tests.pages import blocks, page, params_of

TEXT = page("docs/campaigns.md")


@pytest.mark.parametrize("block", blocks(TEXT, "yaml"))
def test_the_run_config_is_accepted(block: str) -> None:
    """Each run config shown is one that the job takes."""
    config = yaml.safe_load(block)
    if "ops" not in config:
        config["ops"] = {}
    if "job_request" in config["ops"]:
        requests = dg.Definitions([job_request]).resolve_implicit_global_asset_job_def()
        assert dg.validate_run_config(requests, config)
    else:
        assert dg.validate_run_config(defs.resolve_job_def("campaign_job"), config)


def test_every_setting_is_named() -> None:
    """The page names each param of the campaign, each field of the message and of the mail server, and each status."""
    params = params_of(defs.resolve_job_def("campaign_job"), "campaign_delivery")
    names = [*params, *STATUSES, *(field.name for field in fields(MailServer))]
    assert [name for name in names if f"`{name}`" not in TEXT] == []
    assert [field.name for field in fields(Message) if field.name not in TEXT] == []


def test_the_commands_for_a_dead_sender_release_its_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the commands shown, typed as they stand, a claim of a dead sender is seen and given back."""
    monkeypatch.chdir(tmp_path)
    [block] = [each for each in blocks(TEXT, "bash") if "settle" in each]
    shown, settled = (shlex.split(line)[1:] for line in block.splitlines())
    url, namespace, key = settled[3], settled[-2], settled[-1]
    assert namespace == Destination(MailServer(), tmp_path, maildir=None).namespace("spring-2027")
    Path(url).parent.mkdir(parents=True)
    with Claims(url) as claims:
        claims.claim(namespace, [key], "a dead sender")

    printed = CliRunner().invoke(fanout, shown)
    assert printed.exit_code == 0
    assert namespace in printed.stdout and key in printed.stdout
    assert CliRunner().invoke(fanout, settled).exit_code == 0

    with Claims(url) as claims:
        assert claims.claim(namespace, [key], "another sender") == {key: "claimed"}
