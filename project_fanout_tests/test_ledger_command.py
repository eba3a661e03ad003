"""The command `fanout-ledger`."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from project_fanout.engine.ledger import Claims, Ledger, LedgerFilter, LedgerScope
from project_fanout.engine.model import UnitError
from project_fanout.ledger import main
from project_fanout_tests.engine.ledger.support import SCOPE, make_entry


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A ledger with two lineages and two claims, where Dagster's home is."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.delenv("FANOUT_LEDGER_URL", raising=False)
    path = tmp_path / "fanout_ledger.db"
    error = UnitError("ValueError", "no such\npage")
    with Ledger(path) as ledger:
        ledger.put(make_entry("u1"))
        ledger.put(make_entry("bell\a", ended_at=1_001.0, status="failed", result_json=None, error=error))
        ledger.put(make_entry("u3", scope=LedgerScope("other", "b"), ended_at=4_000_000_000.0))
    with Claims(path) as claims:
        claims.claim("mail", ["a", "b"], "run-1")
        claims.confirm("mail", {"a": {"id": 7}}, "run-1")
    return str(path)


def rows(output: str) -> list[list[str]]:
    """Return the cells of a printed table, without its two lines of header."""
    return [line.split() for line in output.splitlines()[2:]]


def test_list_counts_by_status(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the ledger holds, the newest lineage first, found where Dagster's home is."""
    assert main(["list"]) == 0
    first, second = rows(capsys.readouterr().out)
    assert first[:6] == ["other", "b", "1", "0", "0", "0"]
    assert second[:6] == ["lineage-1", "word_counts", "1", "1", "0", "0"]
    assert main(["list", "--json", "--asset", "b", "--url", url]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["units"] == {"succeeded": 1}
    assert found["scope"] == {"lineage": "other", "asset": "b", "partition": ""}


def test_show_prints_outcomes(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The outcomes of a lineage, named by how its id begins; odd characters do not break the table."""
    assert main(["show", "lin", "--status", "failed"]) == 0
    output = capsys.readouterr().out
    assert len(rows(output)) == 1
    assert "bell\\x07" in output
    assert "ValueError: no such page" in output
    assert main(["show", "lineage-1", "--limit", "1", "--json"]) == 0
    shown = capsys.readouterr()
    assert [each["unit_key"] for each in json.loads(shown.out)] == ["u1"]
    assert "more than 1" in shown.err
    assert main(["show", "x"]) == 1
    assert "No lineage begins with 'x'" in capsys.readouterr().err


def test_show_refuses_an_ambiguous_lineage(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A beginning that fits several lineages is an error, not a choice."""
    with Ledger(url) as ledger:
        ledger.put(make_entry(scope=replace(SCOPE, lineage="lineage-2")))
    assert main(["show", "lineage"]) == 1
    assert "2 lineages begin with 'lineage'" in capsys.readouterr().err


def test_prune_says_what_it_removed(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Lineages that are old enough go, claims stay."""
    assert main(["prune", "--older-than", "30d"]) == 0
    assert capsys.readouterr().out == "Removed 2 outcomes of 1 lineages and assets.\n"
    assert main(["prune", "--lineage", "oth", "--keep-last", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"scopes": 0, "outcomes": 0}
    with Ledger(url) as ledger, Claims(url) as claims:
        assert [entry.outcome.unit_key for entry in ledger.entries(LedgerFilter())] == ["u3"]
        assert len(claims.listing()) == 2


def test_prune_keeps_unconfirmed_claims_unless_told(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A claim that nobody confirmed goes only with --unconfirmed."""
    assert main(["prune", "--claims", "mail", "--older-than", "0m"]) == 0
    assert capsys.readouterr().out == "Removed 1 claims.\n"
    with Claims(url) as claims:
        assert [claim.key for claim in claims.listing()] == ["b"]
    assert main(["prune", "--claims", "mail", "--older-than", "0m", "--unconfirmed", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"claims": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prune"], "prune needs --older-than"),
        (["prune", "--claims", "mail"], "--claims goes with --older-than"),
        (["prune", "--claims", "mail", "--older-than", "1d", "--asset", "a"], "and with no other condition"),
        (["prune", "--unconfirmed", "--older-than", "1d"], "--unconfirmed goes with --claims"),
        (["prune", "--older-than", "soon"], "'soon' is not an age; accepted: a number and m, h, d or w"),
        (["show", "x", "--limit", "-1"], "'-1' is not a number"),
        ([], "required: command"),
    ],
)
def test_wrong_arguments_remove_nothing(
    url: str, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """A command that is not clear is refused with exit code 2 and says what is accepted."""
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert message in capsys.readouterr().err
    with Ledger(url) as ledger:
        assert len(ledger.entries(LedgerFilter())) == 3


def test_claims_are_listed_and_settled(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A person who has found out what became of an effect says so, and only of claims left open."""
    assert main(["claims", "--state", "claimed"]) == 0
    assert [row[:4] for row in rows(capsys.readouterr().out)] == [["mail", "b", "claimed", "run-1"]]
    assert main(["claims", "--json", "--namespace", "mail", "--limit", "1"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1
    assert main(["settle", "happened", "mail", "b", "a"]) == 1
    assert "no unconfirmed claim of 'a'" in capsys.readouterr().err
    assert main(["settle", "did-not-happen", "mail", "b"]) == 0
    with Claims(url) as claims:
        assert claims.claim("mail", ["a", "b"], "run-2") == {"a": "confirmed", "b": "claimed"}
    assert main(["settle", "happened", "mail", "b", "--json"]) == 0
    with Claims(url) as claims:
        assert claims.claim("mail", ["b"], "run-3") == {"b": "confirmed"}


def test_no_ledger_is_made_by_looking_for_one(tmp_path: Path) -> None:
    """As a program: exit code 1 and where it looked; no file appears."""
    path = tmp_path / "none.db"
    command = [sys.executable, "-m", "project_fanout.ledger", "list", "--url", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"fanout-ledger: There is no ledger {path}.")
    assert not path.exists()
