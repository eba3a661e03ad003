"""A run whose process is killed is resumed at the cost of what was missing, and never half shown."""

import shutil
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from project_fanout.engine.ledger import Ledger, LedgerFilter
from project_fanout_tests.instances import new_home
from project_fanout_tests.orchestration import fault_jobs, poison_jobs, poison_work
from project_fanout_tests.orchestration.fault_work import (
    CHILDREN,
    FOLDER,
    HALF,
    RECORDS,
    UNITS,
    half_done,
    journal,
)
from project_fanout_tests.processes import Process, start
from project_fanout_tests.waiting import wait_until

ROWS = RECORDS * UNITS * CHILDREN


@dataclass(frozen=True)
class Place:
    """What a run leaves behind: the Dagster home, and the journal of its units."""

    path: Path

    @property
    def home(self) -> Path:
        return self.path / "home"

    @property
    def work(self) -> Path:
        return self.path / "work"

    def copy(self, path: Path) -> "Place":
        """Return another place where the same has happened."""
        shutil.copytree(self.path, path)
        return Place(path)

    def start(self, executor: str) -> Process:
        """Start a run in a process of its own."""
        with (self.path / "stderr").open("w") as errors:
            return start(
                *("-m", fault_jobs.__name__, str(self.home), executor),
                home=self.home,
                errors=errors,
                **{FOLDER: str(self.work)},
            )


def new_place(path: Path, *orders: str) -> Place:
    """Return an empty place with the files *orders*, which tell the run what is to happen to it."""
    place = Place(path)
    new_home(place.home)
    place.work.mkdir()
    for order in orders:
        (place.work / order).touch()
    return place


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The table of a run that nothing happens to."""
    place = new_place(tmp_path_factory.mktemp("undisturbed"))
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.from_config(str(place.home)) as instance:
        patch.setenv(FOLDER, str(place.work))
        result = fault_jobs.run("fanout", instance)
        assert result.success
        table = stored_table(instance)
    assert len(table) == ROWS
    assert table["status"].eq("succeeded").all()
    return table


def stored_table(instance: dg.DagsterInstance) -> pd.DataFrame:
    """Return the asset's value without what no two runs share."""
    table: pd.DataFrame = fault_jobs.definitions("fanout").load_asset_value("squares", instance=instance)
    return table.drop(columns="seconds")


def run_until_killed(place: Place, executor: str) -> float:
    """Run until the process is killed, by itself or when half of it is done; return when that was."""
    process = place.start(executor)
    try:
        if (place.work / "hold").exists():
            wait_until(
                lambda: half_done(place.work) or process.poll() is not None,
                "half of the units have ended",
                120,
            )
            process.send_signal(signal.SIGKILL)
        process.wait(timeout=120)
        at = time.time()
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL, (place.path / "stderr").read_text()[-4000:]
    (place.work / "hold").unlink(missing_ok=True)
    return at


def kept(place: Place) -> set[str]:
    """Return the keys of the units whose success is in the ledger."""
    path = place.home / "fanout_ledger.db"
    if not path.exists():
        return set()
    with Ledger(path, create=False) as ledger:
        return {entry.outcome.unit_key for entry in ledger.entries(LedgerFilter(status="succeeded"))}


def resume(
    place: Place, executor: str, patch: pytest.MonkeyPatch, *, all_steps: bool, undisturbed: pd.DataFrame
) -> None:
    """Re-execute the killed run, and check that the asset shows it once and whole, and what was redone."""
    before = kept(place)
    patch.setenv(FOLDER, str(place.work))
    with dg.DagsterInstance.from_config(str(place.home)) as instance:
        [killed] = instance.get_runs()
        assert instance.fetch_materializations(fault_jobs.squares.key, limit=9).records == []
        instance.report_run_failed(killed)
        if all_steps:
            again = dg.ReexecutionOptions(parent_run_id=killed.run_id)
        else:
            again = dg.ReexecutionOptions.from_failure(killed.run_id, instance)
        result = fault_jobs.run(executor, instance, again)
        assert result.success
        [event] = instance.fetch_materializations(fault_jobs.squares.key, limit=9).records
        assert event.run_id == result.run_id
        pd.testing.assert_frame_equal(stored_table(instance), undisturbed)
        assert list((place.home / "storage" / result.run_id).glob("squares.*")) == []
    started = Counter(unit for verb in ("split", "begun") for unit, _ in journal(place.work, verb))
    assert len(started) == RECORDS * UNITS * (1 + CHILDREN)
    assert {unit for unit in before if started[unit] > 1} == set()


@pytest.mark.parametrize(
    ("executor", "order", "modes"),
    [
        ("fanout", "hold", [False, True]),
        ("fanout", "kill trigger", [False]),
        ("fanout", "kill after trigger", [False]),
        ("fanout", "kill collect", [False]),
        ("in_process", "hold", [False]),
        ("in_process", "kill after trigger", [False]),
    ],
)
def test_a_killed_run_is_resumed_whole_and_redoes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: pd.DataFrame,
    executor: str,
    order: str,
    modes: list[bool],
) -> None:
    """After SIGKILL, re-executed from failure or as a whole: the same table, and no finished unit runs again.

    What has ended more than a second before the kill counts as finished, whatever the kill hits.
    """
    place = new_place(tmp_path / "killed", order)
    at = run_until_killed(place, executor)
    finished = {unit for unit, ended in journal(place.work, "squared") if ended < at - 1}
    assert finished <= kept(place)
    if order == "hold":
        assert len(finished) >= HALF
        begun = {unit.split(".")[0] for unit, _ in journal(place.work, "begun")}
        assert len(begun) < RECORDS, "some records have been in work, others not"
    elif order == "kill collect":
        assert len(kept(place)) == RECORDS * UNITS * (1 + CHILDREN)
    for all_steps in modes:
        copy = place.copy(tmp_path / f"all steps {all_steps}")
        resume(copy, executor, monkeypatch, all_steps=all_steps, undisturbed=undisturbed)


def test_without_a_ledger_steps_that_had_not_ended_are_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: pd.DataFrame
) -> None:
    """After SIGKILL, from failure: the same table; units of steps that had ended do not run again, all others do."""
    executor = "fanout without a ledger"
    place = new_place(tmp_path, "hold")
    run_until_killed(place, executor)
    assert not (place.home / "fanout_ledger.db").exists()
    before = Counter(unit for unit, _ in journal(place.work, "begun"))
    monkeypatch.setenv(FOLDER, str(place.work))
    with dg.DagsterInstance.from_config(str(place.home)) as instance:
        [killed] = instance.get_runs()
        ended = {
            entry.get_dagster_event().step_key
            for entry in instance.all_logs(killed.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS)
        }
        instance.report_run_failed(killed)
        again = dg.ReexecutionOptions.from_failure(killed.run_id, instance)
        assert fault_jobs.run(executor, instance, again).success
        pd.testing.assert_frame_equal(stored_table(instance), undisturbed)
    runs = Counter(unit for unit, _ in journal(place.work, "begun"))
    for number in range(RECORDS):
        has_ended = any(f".square[record_{number}_" in step for step in ended)
        units = {unit for unit in runs if unit.startswith(f"{number}.")}
        assert len(units) == UNITS * CHILDREN
        assert {runs[unit] - before[unit] for unit in units} == {0 if has_ended else 1}
    assert 0 < sum(".square[" in step for step in ended) < RECORDS


@pytest.mark.parametrize(("speed", "dead_runs"), [("slow", 2), ("quick", 3)])
def test_a_unit_that_kills_its_run_each_time_is_given_up(tmp_path: Path, speed: str, dead_runs: int) -> None:
    """After as many runs as it has attempts, one more if it is too quick to be noted; the others have their results.

    When it is no longer poison, the next run tries it again.
    """
    home, folder = new_home(tmp_path / "home"), tmp_path / "work"
    folder.mkdir()
    (folder / "poison").touch()
    (folder / speed).touch()

    def execute() -> int:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            runs = instance.get_runs()
            for each in runs:
                if not each.is_finished:
                    instance.report_run_failed(each)
        parent = runs[0].run_id if runs else ""
        process = start(
            "-m", poison_jobs.__name__, str(home), parent, home=home, **{poison_work.FOLDER: str(folder)}
        )
        return process.wait(120)

    codes = [execute() for _ in range(dead_runs + 1)]
    assert codes == [-signal.SIGKILL] * dead_runs + [0]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        definitions = dg.Definitions([poison_jobs.eaten])
        table: pd.DataFrame = definitions.load_asset_value("eaten", instance=instance)
        bad = table[table["status"] == "crashed"]
        assert list(bad["unit_key"]) == ["1.1"]
        assert "in work in each of 2 runs that died" in bad["error"].iloc[0]
        assert table["status"].eq("succeeded").sum() == 8
    (folder / "poison").unlink()
    assert execute() == 0
    with dg.DagsterInstance.from_config(str(home)) as instance:
        table = definitions.load_asset_value("eaten", instance=instance)
    assert table["status"].eq("succeeded").all()
