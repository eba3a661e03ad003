"""`fanout retry`: chosen units are tried again, and all are collected."""

import json
import os
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger import Ledger, LedgerFilter
from project_fanout.engine.ledger.where import chosen_units
from project_fanout.engine.model import UnitError
from project_fanout_tests.command.runs import BAD, command, make
from project_fanout_tests.engine.ledger.support import make_entry


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of an instance, which `fanout` finds too."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.delenv("FANOUT_LEDGER_URL", raising=False)
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return tmp_path


def statuses(home: Path, run: str) -> Counter[tuple[str, str]]:
    """Return how many units of each page ended how, in the run's lineage, and whether this run has run them."""
    with Ledger(home / "fanout_ledger.db") as ledger:
        return Counter(
            (entry.outcome.unit_key, f"{entry.outcome.status}{' here' if entry.run_id == run else ''}")
            for entry in ledger.entries(LedgerFilter())
        )


def retried(*arguments: str) -> str:
    """Return the id of the run that `fanout retry` has made."""
    printed = command("retry", *arguments).stderr
    return printed.rpartition("Run ")[2].split()[0]


def test_only_chosen_units_are_tried_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two causes one is gone: its units succeed, those of the other keep their outcome and are not run."""
    run = make(home, bad="page 1,page 2")
    monkeypatch.setenv(BAD, "")
    again = retried(run[:8], "--where", "error like '%429 for page 1'")
    assert statuses(home, again) == {
        ("page 0", "succeeded"): 3,
        ("page 1", "succeeded here"): 3,
        ("page 2", "failed"): 3,
        ("page 3", "succeeded"): 3,
    }
    assert "3 failed" in command("status", again).stdout
    last = retried(again)
    assert statuses(home, last)["page 2", "succeeded here"] == 3
    assert json.loads(command("status", last, "--json").stdout)[0]["state"] == "succeeded"
    with dg.DagsterInstance.from_config(str(home)) as instance:
        materialized = instance.get_latest_materialization_event(dg.AssetKey("books"))
        assert materialized is not None
        assert materialized.run_id == last


def test_failures_that_were_tolerated_are_tried_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a run that has succeeded with them: nothing else is run."""
    run = make(home, bad="page 3", max_failed_ratio=0.5)
    monkeypatch.setenv(BAD, "")
    again = retried(run, "--where", "record = 'Book 1'")
    assert statuses(home, again) == {
        ("page 0", "succeeded"): 3,
        ("page 1", "succeeded"): 3,
        ("page 2", "succeeded"): 3,
        ("page 3", "succeeded here"): 1,
        ("page 3", "failed"): 2,
    }


def test_a_dry_run_counts_and_does_nothing(home: Path) -> None:
    """So does a condition that chooses nothing, which is an error."""
    run = make(home, bad="page 1")
    tried = command("retry", run, "--dry-run", "--where", "unit = 'page 1' and record > 'Book 0'")
    assert (tried.exit_code, tried.stderr) == (0, "books: 2 of 3 units without success\n")
    none = command("retry", run, "--where", "status = 'crashed'")
    assert none.exit_code == 1
    assert "No unit of run" in none.stderr


def test_a_run_that_the_instance_does_not_know_is_refused(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the home in which it was looked for."""
    run = make(home, bad="page 1")
    (other := tmp_path / "other").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(other))
    refused = command("retry", run, "--url", str(home / "fanout_ledger.db"))
    assert refused.exit_code == 1
    assert f"does not know run {run}: set DAGSTER_HOME" in refused.stderr
    assert os.environ["DAGSTER_HOME"] == str(other)


@pytest.mark.parametrize(
    "where",
    [
        "error like",
        "nonsense = 1",
        "1); drop table units; --",
        "1) union select 1, 2, 3 --(",
        "'",
        "1; select 2",
        "",
    ],
)
def test_what_is_no_condition_is_refused(where: str) -> None:
    """With the columns that there are; nothing is changed by it."""
    entry = make_entry("u", status="failed", encoded=None, error=UnitError("ValueError", "bad"))
    with pytest.raises(LedgerError, match=r"(?s)is not a condition: .* record, unit, stage, status, error"):
        chosen_units([entry], where)


def test_texts_are_compared_as_people_know_them() -> None:
    """Whatever they hold, and in a comment's presence."""
    error = UnitError("Ошибка", "нет «страницы» \\ 'x' \0")
    entry = make_entry("ещё \0", status="failed", encoded=None, error=error)
    for where in (
        "error like 'Ошибка: нет «страницы» \\ ''x''%'",
        "status = 'failed' -- all",
        "seconds > 0 and attempts = 1",
    ):
        assert chosen_units([entry], where) == {(0, "r1", "ещё \0")}
    assert chosen_units([entry], "error like '%429%'") == set()
