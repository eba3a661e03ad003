"""The command `fanout ledger`."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from project_fanout.command.ledger import ledger
from project_fanout.command.main import fanout
from project_fanout.engine.ledger import Claims, Ledger, LedgerFilter, LedgerScope
from project_fanout.engine.model import UnitError
from project_fanout_tests.engine.ledger.support import SCOPE, make_entry
from project_fanout_tests.pages import blocks, page
from project_fanout_tests.processes import run_python


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A ledger with two lineages and two claims, where Dagster's home is."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.delenv("FANOUT_LEDGER_URL", raising=False)
    path = tmp_path / "fanout_ledger.db"
    error = UnitError("ValueError", "no such\npage")
    with Ledger(path) as opened:
        opened.put(make_entry("u1"))
        opened.put(make_entry("bell\a", ended_at=1_001.0, status="failed", encoded=None, error=error))
        opened.put(make_entry("u3", scope=LedgerScope("other", "b"), ended_at=4_000_000_000.0))
    with Claims(path) as claims:
        claims.claim("mail", ["a", "b"], "run-1")
        claims.confirm("mail", {"a": {"id": 7}}, "run-1")
    return str(path)


def run(*arguments: str) -> Result:
    """Run a verb of `fanout ledger`; an error that is none of its own is raised."""
    return CliRunner().invoke(fanout, ["ledger", *arguments], catch_exceptions=False)


def rows(output: str) -> list[list[str]]:
    """Return the cells of a printed table, without its two lines of header."""
    return [line.split() for line in output.splitlines()[2:]]


def test_list_counts_by_status(url: str) -> None:
    """What the ledger holds, the newest lineage first, found where Dagster's home is."""
    listed = run("list")
    assert listed.exit_code == 0
    first, second = rows(listed.stdout)
    assert first[:6] == ["other", "b", "1", "0", "0", "0"]
    assert second[:6] == ["lineage-1", "word_counts", "1", "1", "0", "0"]
    (found,) = json.loads(run("list", "--json", "--asset", "b", "--url", url).stdout)
    assert found["units"] == {"succeeded": 1}
    assert found["scope"] == {"lineage": "other", "asset": "b", "partition": ""}


def test_the_cells_of_a_column_are_below_its_name(url: str) -> None:
    """A table is read by column, also where a cell is empty; nothing trails a line."""
    names, _, first, second = run("list").stdout.splitlines()
    for name, *cells in (
        ["asset", "b", "word_counts"],
        ["succeeded", "1", "1"],
        ["first", "2096-10-02 07:06:40Z", "1970-01-01 00:16:40Z"],
    ):
        for line, cell in zip((first, second), cells, strict=True):
            assert line[names.index(name) :].startswith(f"{cell} "), name
    assert all(line == line.rstrip() for line in (names, first, second))


def test_show_prints_outcomes(url: str) -> None:
    """The outcomes of a lineage, named by how its id begins; odd characters do not break the table."""
    failed = run("show", "lin", "--status", "failed")
    assert failed.exit_code == 0
    assert len(rows(failed.stdout)) == 1
    assert "bell\\x07" in failed.stdout
    assert "ValueError: no such page" in failed.stdout
    first = run("show", "lineage-1", "--limit", "1", "--json")
    assert [outcome["unit_key"] for outcome in json.loads(first.stdout)] == ["u1"]
    assert "more than 1" in first.stderr
    unknown = run("show", "x")
    assert unknown.exit_code == 1
    assert unknown.stderr.startswith("fanout ledger: No lineage begins with 'x'")
    assert "`fanout ledger list` prints all there are" in unknown.stderr


def test_show_refuses_an_ambiguous_lineage(url: str) -> None:
    """A beginning that fits several lineages is an error, not a choice."""
    with Ledger(url) as opened:
        opened.put(make_entry(scope=replace(SCOPE, lineage="lineage-2")))
    shown = run("show", "lineage")
    assert shown.exit_code == 1
    assert "2 lineages begin with 'lineage'" in shown.stderr


def test_prune_says_what_it_removed(url: str) -> None:
    """Lineages that are old enough go, claims stay."""
    assert run("prune", "--older-than", "30d").stdout == "Removed 2 outcomes of 1 lineages and assets.\n"
    pruned = run("prune", "--lineage", "oth", "--keep-last", "1", "--json")
    assert json.loads(pruned.stdout) == {"scopes": 0, "outcomes": 0}
    with Ledger(url) as opened, Claims(url) as claims:
        assert [entry.outcome.unit_key for entry in opened.entries(LedgerFilter())] == ["u3"]
        assert len(claims.listing()) == 2


def test_prune_keeps_unconfirmed_claims_unless_told(url: str) -> None:
    """A claim that nobody confirmed goes only with --unconfirmed."""
    assert run("prune", "--claims", "mail", "--older-than", "0m").stdout == "Removed 1 claims.\n"
    with Claims(url) as claims:
        assert [claim.key for claim in claims.listing()] == ["b"]
    pruned = run("prune", "--claims", "mail", "--older-than", "0m", "--unconfirmed", "--json")
    assert json.loads(pruned.stdout) == {"claims": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prune"], "prune needs --older-than"),
        (["prune", "--claims", "mail"], "--claims goes with --older-than"),
        (["prune", "--claims", "mail", "--older-than", "1d", "--asset", "a"], "and with no other condition"),
        (["prune", "--unconfirmed", "--older-than", "1d"], "--unconfirmed goes with --claims"),
        (["prune", "--older-than", "soon"], "'soon' is not an age; accepted: a number and m, h, d or w"),
        (["prune", "--keep-last", "1.5"], "'1.5' is not a valid integer"),
        (["show", "x", "--limit", "-1"], "-1 is not in the range 0<=x<=999999999"),
        (["show", "x", "--status", "lost"], "'succeeded', 'failed', 'timed_out', 'crashed'"),
        (["settle", "happened", "mail"], "Missing argument 'KEY...'"),
        ([], "Missing command"),
    ],
)
def test_wrong_arguments_remove_nothing(url: str, arguments: list[str], message: str) -> None:
    """A command that is not clear is refused with exit code 2 and says what is accepted."""
    refused = run(*arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert message in " ".join(refused.stderr.split())
    with Ledger(url) as opened:
        assert len(opened.entries(LedgerFilter())) == 3


def test_claims_are_listed_and_settled(url: str) -> None:
    """A person who has found out what became of an effect says so, and only of claims left open."""
    open_claims = run("claims", "--state", "claimed")
    assert [row[:4] for row in rows(open_claims.stdout)] == [["mail", "b", "claimed", "run-1"]]
    assert len(json.loads(run("claims", "--json", "--namespace", "mail", "--limit", "1").stdout)) == 1
    refused = run("settle", "happened", "mail", "b", "a")
    assert refused.exit_code == 1
    assert "no unconfirmed claim of 'a'" in refused.stderr
    assert run("settle", "did-not-happen", "mail", "b").exit_code == 0
    with Claims(url) as claims:
        assert claims.claim("mail", ["a", "b"], "run-2") == {"a": "confirmed", "b": "claimed"}
    assert json.loads(run("settle", "happened", "mail", "b", "--json").stdout) == {"claims": 1}
    with Claims(url) as claims:
        assert claims.claim("mail", ["b"], "run-3") == {"b": "confirmed"}


def program(*command: str) -> subprocess.CompletedProcess[str]:
    """Run an installed program as a user does."""
    path = Path(sys.executable).parent / command[0]
    return subprocess.run([path, *command[1:]], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("name", [["fanout", "ledger"], ["fanout-ledger"]], ids=" ".join)
def test_no_ledger_is_made_by_looking_for_one(tmp_path: Path, name: list[str]) -> None:
    """As a program, by its name or the one it had before: exit code 1 and where it looked; no file appears."""
    path = tmp_path / "none.db"
    done = program(*name, "list", "--url", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{' '.join(name)}: There is no ledger {path}.")
    assert not path.exists()


@pytest.mark.parametrize(
    "arguments", [["list"], ["show", "lin", "--json"], ["claims"], ["prune", "--help"]], ids=" ".join
)
def test_the_earlier_name_does_the_same(url: str, arguments: list[str], tmp_path: Path) -> None:
    """`fanout-ledger` prints what `fanout ledger` prints."""
    scripts = Path(sys.executable).parent
    before, now = (
        run_python(str(scripts / name), *words, *arguments, home=tmp_path)
        for name, *words in (["fanout-ledger"], ["fanout", "ledger"])
    )
    assert (before.returncode, now.returncode) == (0, 0)
    assert before.stdout.replace("fanout-ledger", "fanout ledger") == now.stdout
    assert now.stdout


def test_a_reader_that_has_seen_enough_is_no_error(url: str) -> None:
    """`fanout ledger show ... | head` ends without a message, and with exit code 0."""
    with Ledger(url) as opened:
        for number in range(2_000):
            opened.put(make_entry(f"unit {number}"))
    command = [Path(sys.executable).parent / "fanout", "ledger", "show", "lin", "--limit", "9999"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(5) == b"asset"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


COMMANDS = [
    line
    for name in ("README.md", "docs/resume.md", "docs/campaigns.md")
    for block in blocks(page(name), "bash")
    for line in block.splitlines()
    if "fanout ledger" in line
]


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_of_the_pages_are_understood(line: str) -> None:
    """Each call of the command in README and docs has a verb, options and values that there are."""
    _, group, verb, *arguments = shlex.split(line, comments=True)
    assert group == "ledger"
    ledger.commands[verb].make_context(verb, arguments)


IMPORTED = """
import sys
from project_fanout.command.main import fanout
try:
    fanout(sys.argv[1:])
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], ["dagster", "pandas", "pydantic", "sqlalchemy"]),
        (["ledger", "list"], ["dagster", "pandas", "pydantic"]),
    ],
    ids=" ".join,
)
def test_the_command_starts_at_once(url: str, arguments: list[str], heavy: list[str]) -> None:
    """It does not import what it does not need: Dagster alone takes two seconds."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    imported = set(done.stderr.splitlines()[-1].split())
    assert "click" in imported
    assert not imported & set(heavy)
