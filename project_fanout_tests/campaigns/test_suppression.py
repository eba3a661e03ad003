"""Whoever has unsubscribed gets nothing, whenever that was."""

import json
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
import yaml

from project_fanout.campaigns.assets import campaign_delivery, recipients
from project_fanout.campaigns.errors import CampaignError
from project_fanout.campaigns.stages import prepare_email, send_email
from project_fanout.campaigns.suppression import suppressed_keys
from project_fanout.engine import Unit
from project_fanout.orchestration import UnitPoolResource
from project_fanout_tests.campaigns.servers import messages, recipients_of


def run(folder: Path, **params: object) -> pd.DataFrame:
    """Run a campaign to a list of six, from run config as a program writes it."""
    rows = "".join(f"r{row}@post.example,Ada,Bonn\n" for row in range(6))
    (folder / "list.csv").write_text(f"email,name,city\n{rows}")
    config = {
        "ops": {
            "recipients": {"config": {"source": str(folder / "list.csv"), "output_dir": str(folder)}},
            "campaign_delivery": {"config": {"params": {"output_dir": str(folder), **params}}},
        }
    }
    result = dg.materialize_to_memory(
        [recipients, campaign_delivery],
        # YAML, as the Launchpad reads it.
        run_config=yaml.safe_load(json.dumps(config)),
        resources={"unit_pool": UnitPoolResource(kind="inline")},
    )
    frame: pd.DataFrame = result.output_for_node("campaign_delivery")
    return frame


@pytest.mark.parametrize(
    "content",
    [
        "r1@post.example\nR3@POST.example \n",
        "email\r\nr1@post.example\r\nr3@post.example\r\n",
        "\ufeffdate;Email\n2026-01-01;r3@post.example\n2026-01-02;r1@post.example",
        "r1@post.example\r\r\nr3@post.example",
    ],
)
def test_who_is_suppressed_gets_nothing(content: str, tmp_path: Path) -> None:
    """Addresses in the file, in any spelling and form of it, are refused as suppressed; the others get their mail."""
    (tmp_path / "out.csv").write_text(content, newline="")
    table = run(tmp_path, suppress=str(tmp_path / "out.csv"))
    left_out = table[table["reason"] == "suppressed"]
    assert list(left_out["address"]) == ["r1@post.example", "r3@post.example"]
    assert set(left_out["status"]) == {"refused"}
    assert set(recipients_of(tmp_path / "maildir")) == {f"r{row}@post.example" for row in (0, 2, 4, 5)}


def test_the_file_is_read_again_for_each_batch(tmp_path: Path) -> None:
    """Who unsubscribes between the preparing and the sending, or between two batches, is left out."""
    (tmp_path / "other").mkdir()
    run(tmp_path / "other")
    [found] = (tmp_path / "other").glob("*.duckdb")
    out = tmp_path / "out.txt"
    out.write_text("")
    folder = str(tmp_path / "own")
    batches = prepare_email(Unit("1-6", {"recipients": str(found)}), output_dir=folder, batch_size=3).units
    reasons = []
    for batch, new in zip(batches, ("r1@post.example\n", "r4@post.example\n"), strict=True):
        out.write_text(out.read_text() + new)
        sent = send_email(batch, output_dir=folder, suppress=str(out))
        reasons.append([row[3] for row in sent["deliveries"]])
    assert reasons == [[None, "suppressed", None], [None, "suppressed", None]]


@pytest.mark.parametrize("content", [None, b"\xff", b"date,address\n1,r1@post.example\n"])
def test_without_its_file_nobody_is_sent_to(content: bytes | None, tmp_path: Path) -> None:
    """A file that is gone, or in which the addresses cannot be told, stops the run instead of writing to all."""
    if content is not None:
        (tmp_path / "out.csv").write_bytes(content)
    with pytest.raises(
        CampaignError, match=r"out\.csv', which cannot be read: .* Nobody is sent to without it"
    ):
        suppressed_keys(str(tmp_path / "out.csv"))


def test_an_emoji_in_escaped_run_config_is_one_character(tmp_path: Path) -> None:
    """Run config that json.dumps has escaped, as YAML reads it, sends the emoji in subject and sender."""
    message = {"subject": "Autumn \U0001f342", "sender": "Shop \U0001f600 <news@shop.example>"}
    assert "\\ud83c" in json.dumps(message)
    assert set(run(tmp_path, message=message)["status"]) == {"sent"}
    assert {each["Subject"] for each in messages(tmp_path / "maildir")} == {"Autumn \U0001f342"}
