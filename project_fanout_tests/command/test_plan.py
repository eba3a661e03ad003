"""`fanout plan`: what a run would do, without a unit that runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from project_fanout_tests.command.runs import command, make

MODULE = "project_fanout_tests.command.runs"

UPSTREAM = """
import dagster as dg
from project_fanout.engine import Record, Unit
from project_fanout.orchestration import build_fanout_asset
import planned_work

@dg.asset
def folder() -> list[str]:
    return ["a", "b", "c"]

sizes = build_fanout_asset("sizes", records=planned_work.read, stages=[planned_work.measure])
defs = dg.Definitions(assets=[folder, sizes])
"""
WORK = """
from pathlib import Path
from project_fanout.engine import Record, Unit

def read(folder: list[str], *, units: int = 2):
    return [Record(name, [Unit(str(each), name) for each in range(units)]) for name in folder]

def measure(unit: Unit):
    Path("a unit has run").touch()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of an instance."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.delenv("FANOUT_LEDGER_URL", raising=False)
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return tmp_path


def planned(*arguments: str) -> dict[str, Any]:
    """Return the plan as JSON has it."""
    result = command("plan", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def config(home: Path, **policy: Any) -> list[str]:
    """Return the arguments for a run config of `books` with that policy."""
    path = home / "config.yaml"
    path.write_text(json.dumps({"ops": {"books": {"config": {"policy": policy}}}}))
    return ["--config", str(path)]


def test_a_first_run_is_planned(home: Path) -> None:
    """Records, units and steps with their mapping keys; how long it takes nobody knows."""
    plan = planned("books", "-m", MODULE)
    assert (plan["records"], plan["units"], plan["reused"], plan["seconds"]) == (3, 12, 0, None)
    assert [step["records"] for step in plan["steps"]] == [["Book 0"], ["Book 1"], ["Book 2"]]
    assert plan["steps"][0]["mapping_key"].startswith("book_0_")
    text = command("plan", "books", "-m", MODULE).stdout
    assert "books: 3 records, 12 units of the first stage, 3 mapped steps" in text
    assert "12: `reuse` is lineage: a new run computes every unit" in text
    assert "no earlier run is" in text


def test_the_steps_are_those_that_the_run_has(home: Path) -> None:
    """By their mapping keys."""
    plan = planned("books", "-m", MODULE)
    run = make(home, keep_intermediates=True)
    stored = {path.name for path in (home / "storage" / run).rglob("book_*")}
    assert {step["mapping_key"] for step in plan["steps"]} == stored


def test_with_reuse_always_it_says_what_would_be_reused_and_why_not(home: Path) -> None:
    """Units that succeeded are; those that failed have not been computed by anybody."""
    run = make(home, bad="page 1", max_failed_ratio=1.0)
    plan = planned("books", "-m", MODULE, *config(home, reuse="always"))
    assert (plan["units"], plan["reused"]) == (12, 9)
    assert plan["reasons"] == {"no earlier run has computed it": 3}
    assert plan["earlier"]["run_id"] == run
    assert plan["seconds"] > 0
    assert "It would take about" in command("plan", "books", "-m", MODULE).stdout


def test_upstream_assets_are_loaded_and_no_unit_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the upstream asset has a value, the plan says to materialize it."""
    import dagster as dg

    (home / "planned_work.py").write_text(WORK)
    (home / "planned_defs.py").write_text(UPSTREAM)
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(str(home))
    missing = command("plan", "sizes", "-f", "planned_defs.py")
    assert missing.exit_code == 1
    assert "The upstream asset folder has no value that can be loaded" in missing.stderr
    import planned_defs  # type: ignore[import-not-found]  # made above

    with dg.DagsterInstance.get() as instance:
        dg.materialize([planned_defs.folder], instance=instance)
    plan = planned("sizes", "-f", "planned_defs.py")
    assert (plan["records"], plan["units"]) == (3, 6)
    assert not (home / "a unit has run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["books"], "Say where the asset is defined: -m MODULE or -f FILE."),
        (
            ["nope", "-m", MODULE],
            "'nope' is no fan-out asset of project_fanout_tests.command.runs, accepted: books, halves.",
        ),
        (["books", "-m", "project_fanout_tests.waiting"], "holds 0 dagster.Definitions, accepted: one."),
    ],
)
def test_what_cannot_be_planned_is_refused(home: Path, arguments: list[str], message: str) -> None:
    """With what is accepted."""
    refused = command("plan", *arguments)
    assert refused.exit_code == 1
    assert message in refused.stderr


def test_a_bad_setting_is_refused_as_in_a_run(home: Path) -> None:
    """With its name, its value and what is accepted."""
    refused = command("plan", "books", "-m", MODULE, *config(home, max_attempts=0))
    assert refused.exit_code == 1
    assert "max_attempts" in refused.stderr
