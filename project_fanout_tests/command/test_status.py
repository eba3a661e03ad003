"""`fanout status`: how far a run is, from its ledger alone."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from project_fanout.engine.ledger import Ledger, LedgerScope, RunNews
from project_fanout_tests.command.runs import command, make
from project_fanout_tests.instances import new_home
from project_fanout_tests.processes import environment, start
from project_fanout_tests.waiting import wait_until

SCOPE = LedgerScope("run-1", "books")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of an instance."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.delenv("FANOUT_LEDGER_URL", raising=False)
    return tmp_path


def fields(*arguments: str) -> dict[str, object]:
    """Return the status of the one asset as JSON has it."""
    (found,) = json.loads(command("status", "--json", *arguments).stdout)
    assert isinstance(found, dict)
    return found


def test_a_run_that_has_ended_says_what_it_has_done(home: Path) -> None:
    """Named by how its id begins, or not at all: then it is the latest."""
    run = make(home)
    for arguments in ([run[:8]], [run], []):
        found = command("status", *arguments)
        assert found.exit_code == 0
        assert run in found.stdout
        assert "succeeded" in found.stdout
        assert found.stdout.splitlines()[-1] == "12 of 12 units done (100%), 0 failed, 0 running, 0 waiting."
    assert command("status", "--watch").exit_code == 0


def test_a_run_that_failed_names_its_failures(home: Path) -> None:
    """As the error of its step does; a watch ends with 1."""
    make(home, bad="page 1,page 3")
    found = command("status")
    assert "12 of 12 units done (100%), 6 failed, 0 running, 0 waiting." in found.stdout
    assert (
        "- 3 units of stage read_page, each failed after 2 attempts: ValueError: HTTP 429 for page 3"
        in found.stdout
    )
    assert "record 'Book 2', unit 'page 3'" in found.stdout
    assert fields()["state"] == "failed"
    assert command("status", "--watch").exit_code == 1


def test_a_trigger_that_fails_is_a_failed_run(home: Path) -> None:
    """Also if it has found nothing yet."""
    make(home, max_records=2)
    found = command("status")
    assert "failed" in found.stdout
    assert "max_records" in found.stdout


def test_a_resumed_run_counts_what_it_did_not_run(home: Path) -> None:
    """Its units are done, those of the run before reused; that one says who has gone on."""
    first = make(home, bad="page 1")
    again = make(home, again=first)
    assert "12 of 12 units done (100%), 9 of them reused, 0 failed" in command("status", again).stdout
    assert f"Run {again} has gone on with its units since." in command("status", first).stdout


def test_a_run_that_reuses_always_counts_what_it_took(home: Path) -> None:
    """From a run of another lineage."""
    make(home)
    again = make(home, reuse="always")
    assert "12 of 12 units done (100%), 12 of them reused, 0 failed" in command("status", again).stdout


def test_each_stage_has_its_own_counts(home: Path) -> None:
    """How many units a later stage gets, nobody knows before the end."""
    make(home, "halves", bad="page 1 upper")
    first, second = fields()["stages"]  # type: ignore[misc]  # a list
    assert (first["stage"], first["found"], first["done"]) == ("split", 12, 12)
    assert (second["stage"], second["found"], second["done"]) == ("read_page", None, 24)
    assert second["ended"]["failed"] == 3


def test_a_run_of_several_assets_has_a_status_for_each(home: Path) -> None:
    """And its own line."""
    with Ledger(home / "fanout_ledger.db") as ledger:
        for asset in ("a", "b"):
            scope = LedgerScope("run-1", asset)
            ledger.note_run(RunNews(run_id="run-1", scope=scope, units=5, found_all=True, stages=("s",)))
    found = command("status", "run-1").stdout
    assert found.count("0 of 5 units done (0%)") == 2


def test_a_run_that_is_not_heard_of_any_more_says_so(home: Path) -> None:
    """Its process may have been killed; the ledger cannot know."""
    with Ledger(home / "fanout_ledger.db") as ledger:
        ledger.note_run(RunNews(run_id="run-1", scope=SCOPE, at=time.time() - 3_600, units=5, stages=("s",)))
    found = command("status")
    assert "Nothing has been heard of it for 60 min" in found.stdout.replace("1 h 0 min", "60 min")
    assert fields()["state"] == "silent"
    assert command("status", "--watch").exit_code == 1


def test_which_run_is_meant_has_to_be_clear(home: Path) -> None:
    """What is unknown, or begins like several, is refused with what there is."""
    with Ledger(home / "fanout_ledger.db") as ledger:
        for number in (1, 2):
            ledger.note_run(RunNews(run_id=f"run_{number}", scope=SCOPE))
    several = command("status", "run_")
    assert several.exit_code == 1
    assert "2 runs begin with 'run_': run_2, run_1" in several.stderr
    assert command("status", "run_1").exit_code == 0
    for unknown in ("nope", "run%", "_"):
        assert f"knows no run whose id begins with {unknown!r}" in command("status", unknown).stderr


@pytest.mark.slow
def test_a_terminal_shows_a_bar(home: Path) -> None:
    """As long as the share that is done, with the line beside it, no wider than the terminal."""
    make(home)
    code = (
        "import pty, sys; pty.spawn([sys.executable, '-c', "
        "'from project_fanout.command.main import fanout; fanout()', 'status', '--watch'])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment(home, COLUMNS="60"), capture_output=True, text=True,
        timeout=60, check=True, stdin=subprocess.DEVNULL,
    ).stdout  # fmt: skip
    (bar,) = re.findall(r"books █+ .*", shown)
    assert bar.startswith(f"books {'█' * 24} 12 of 12 units done")
    assert len(bar.rstrip()) <= 60


WORK = """
import time
from project_fanout.engine import Record, Unit
def find():
    for number in range(400):
        yield Record(f"r{number}", [Unit(str(each), number) for each in range(10)])
def crunch(unit):
    end = time.process_time() + 0.005
    while time.process_time() < end: pass
"""
JOBS = """
import dagster as dg
from project_fanout.orchestration import build_fanout_asset, fanout_executor
import crunching
crunched = build_fanout_asset("crunched", records=crunching.find, stages=[crunching.crunch])
defs = dg.Definitions(assets=[crunched], jobs=[dg.define_asset_job("crunch", [crunched])], executor=fanout_executor)
"""


@pytest.mark.slow
def test_a_run_is_watched_from_another_process(tmp_path: Path) -> None:
    """Line by line where no terminal shows a bar: done rises, with rate and time left; it ends with the run."""
    home = new_home(tmp_path / "home")
    (tmp_path / "crunching.py").write_text(WORK)
    (tmp_path / "crunch_jobs.py").write_text(JOBS)
    path = str(tmp_path)
    run = start(
        *("-m", "dagster", "job", "execute", "-f", "crunch_jobs.py", "-j", "crunch"),
        home=home, folder=tmp_path, PYTHONPATH=path,
    )  # fmt: skip
    wait_until(lambda: (home / "fanout_ledger.db").exists() and command_works(home), "the run is known", 60)
    watched = subprocess.run(
        [sys.executable, "-c", "from project_fanout.command.main import fanout; fanout()", "status", "--watch"],
        env=environment(home), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.wait(60) == 0
    assert watched.returncode == 0, watched.stderr
    lines = [line for line in watched.stderr.splitlines() if line.startswith("crunched: ")]
    done = [int(re.sub(r"\D", "", line.split(" of ")[0])) for line in lines]
    assert done == sorted(done)
    assert done[0] < done[-1] == 4000
    assert any(re.search(r"; [\d.e+]+ a second, .+ left\.$", line) for line in lines)


def command_works(home: Path) -> bool:
    """Tell whether the ledger knows a run."""
    return command("status", "--url", str(home / "fanout_ledger.db")).exit_code == 0
