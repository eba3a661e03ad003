"""`fanout explain`: what became of a unit, and why."""

import json
from pathlib import Path

import pytest

from project_fanout_tests.command.runs import command, make


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of an instance."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.delenv("FANOUT_LEDGER_URL", raising=False)
    return tmp_path


def test_a_unit_that_failed_tells_of_each_attempt(home: Path) -> None:
    """With the error of each, the input, and the traceback of the last."""
    run = make(home, bad="page 1")
    story = command("explain", run[:8], "Book 1", "page 1").stdout
    assert "It was run: this is the first run of its lineage." in story
    assert "Attempt 1 failed after" in story
    assert "Attempt 2 failed after" in story
    assert "ValueError: HTTP 429 for page 1" in story
    assert '"page":1' in story
    assert "Traceback (most recent call last)" in story


def test_a_unit_that_waited_says_for_what(home: Path) -> None:
    """For the units that ran meanwhile."""
    run = make(home, bad="page 0", retry_delay_s=0.2, max_attempts=2)
    story = command("explain", run, "Book 0", "page 1").stdout
    assert "succeeded" in story
    (found,) = json.loads(command("explain", run, "Book 0", "page 1", "--json").stdout)
    assert found["waited"] >= 0
    assert ("It waited" in story) == (found["waited"] > 0.05)


def test_a_resumed_unit_names_the_run_that_computed_it(home: Path) -> None:
    """And one that was run again says that no earlier run had brought it to success."""
    first = make(home, bad="page 1")
    again = make(home, again=first)
    taken = command("explain", again, "Book 0", "page 2").stdout
    assert f"It was not run: run {first} had brought it to success." in taken
    assert "Result  {" in taken
    ran = command("explain", again, "Book 0", "page 1").stdout
    assert "It was run: no earlier run of the lineage had brought this unit" in ran
    assert f"taken from run {first}" in command("explain", again, "Book 0").stdout


def test_a_unit_taken_from_another_lineage_names_its_run(home: Path) -> None:
    """`reuse: always` takes what was computed with the same payload, params and code version."""
    first = make(home)
    again = make(home, reuse="always")
    story = command("explain", again, "Book 2", "page 3").stdout
    assert f"It was not run: the result was taken from run {first}, for `reuse` is always" in story


def test_a_record_lists_its_units(home: Path) -> None:
    """One line each, with the error of those that failed."""
    run = make(home, bad="page 1,page 2")
    lines = command("explain", run, "Book 0").stdout.splitlines()[2:]
    assert sorted(line.split()[3:5] for line in lines) == [
        ["0", "succeeded"],
        ["1", "failed"],
        ["2", "failed"],
        ["3", "succeeded"],
    ]
    assert sum(line.endswith("ValueError: HTTP 429 for page 2") for line in lines) == 1


def test_what_there_is_not_is_said_with_what_is_close(home: Path) -> None:
    """A record or unit whose key is misspelt."""
    run = make(home)
    wrong_record = command("explain", run, "Boook 1", "page 1")
    assert wrong_record.exit_code == 1
    assert "Units of 3 records have. Close to it: 'Book 1'" in wrong_record.stderr
    wrong_unit = command("explain", run, "Book 1", "page 11")
    assert (
        "has not ended: it waits, or there is no such unit. 4 others of the record have." in wrong_unit.stdout
    )
    assert "'page 1'" in wrong_unit.stdout
