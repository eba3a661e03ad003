"""A run that computes again what an earlier one of its lineage has computed, because its ledger is another, says so."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from project_fanout.engine.ledger import Ledger, LedgerFilter
from project_fanout_tests.instances import with_tables
from project_fanout_tests.nightly import NIGHTLY
from project_fanout_tests.orchestration import resumed_jobs
from project_fanout_tests.orchestration.resumed_jobs import Settings, run
from project_fanout_tests.processes import run_python

SETTING = "set LedgerResource(url=...) or the environment variable FANOUT_LEDGER_URL"
UNITS = 6


@dataclass(frozen=True)
class Place:
    """Where runs happen: homes that share Dagster's own database, as pods do, and the folder of the units."""

    path: Path

    @contextmanager
    def instance(self, home: str = "home") -> Iterator[dg.DagsterInstance]:
        """Open the instance of a home. Its ledger is in it; runs and events are in no home."""
        folder = self.path / home
        folder.mkdir(exist_ok=True)
        if not (self.path / "shared").exists():
            with_tables(self.path / "shared")
        shared = json.dumps(str(self.path / "shared"))
        (folder / "dagster.yaml").write_text(
            f"telemetry: {{enabled: false}}\nstorage: {{sqlite: {{base_dir: {shared}}}}}\n"
        )
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            yield instance

    @property
    def work(self) -> Path:
        return self.path / "work"

    def ledger(self, home: str = "home") -> str:
        return str(self.path / home / "fanout_ledger.db")

    def order(self, what: str) -> None:
        (self.work / what).touch()

    def ran(self) -> int:
        """Return how many units have run, and forget them."""
        journal = self.work / "journal"
        found = len(journal.read_text().split()) if journal.exists() else 0
        journal.unlink(missing_ok=True)
        return found

    def first(self, how: Settings | None = None, **changes: Any) -> str:
        """Run to the end, in which the asset's last unit fails; return the run's id."""
        self.order("fail 1.2")
        with self.instance() as instance:
            result = run(instance, self.work, how, **changes)
        assert not result.success
        assert self.ran() == UNITS
        (self.work / "fail 1.2").unlink()
        return result.run_id

    def killed(self, at: str, how: Settings) -> str:
        """Run in a process of its own until the unit *at* has it killed; return the run's id."""
        self.order(f"kill {at}")
        with self.instance() as instance:
            home = self.path / "home"
            arguments = [str(home), str(self.work), json.dumps(asdict(how))]
            done = run_python("-m", resumed_jobs.__name__, *arguments, home=home)
            assert done.returncode == -9, done.stderr
            [killed] = instance.get_runs()
            instance.report_run_failed(killed)
        return killed.run_id

    def again(
        self,
        run_id: str,
        how: Settings | None = None,
        *,
        home: str = "home",
        from_failure: bool = False,
        **changes: Any,
    ) -> list[str]:
        """Re-execute a run, which goes well; return the warnings in the log that name a ledger."""
        with self.instance(home) as instance:
            options = dg.ReexecutionOptions(parent_run_id=run_id)
            if from_failure:
                options = dg.ReexecutionOptions.from_failure(run_id, instance)
            result = run(instance, self.work, how, options, **changes)
            assert result.success
            return warnings(instance, result.run_id)


def warnings(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Return the warnings in a run's log that name a ledger."""
    found = [event.message for event in instance.all_logs(run_id) if event.level >= 30]
    return [message for message in found if "ledger" in message]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty place; the shell names no ledger."""
    monkeypatch.delenv("FANOUT_LEDGER_URL", raising=False)
    (tmp_path / "work").mkdir()
    return Place(tmp_path)


OFF = Settings(ledger={"enabled": False})


#: A run with a process for each of its steps takes its time; three of them in a row are for the night.
PROCESS_PER_STEP = [("multiprocess", True), *([("multiprocess", False)] if NIGHTLY else [])]


@pytest.mark.parametrize(
    ("executor", "from_failure"), [("fanout", False), ("in_process", True), *PROCESS_PER_STEP]
)
def test_a_moved_home_is_named_with_the_ledger_and_the_setting(
    place: Place, executor: str, from_failure: bool
) -> None:
    """A run that has the ledger of another home computes everything that it comes to, and says so once.

    Re-executed from failure that is the record of the unit that failed: the collect step runs it.
    """
    how = Settings(executor)
    earlier = place.first(how)
    [warning] = place.again(earlier, how, home="moved", from_failure=from_failure)
    assert place.ran() == (UNITS // 2 if from_failure else UNITS)
    assert f"Run {earlier} has kept outcomes of numbers in the ledger {place.ledger()}" in warning
    assert f"this run's ledger, {place.ledger('moved')}, holds none of them" in warning
    assert SETTING in warning
    # The same in the first home: its ledger knows them.
    assert place.again(earlier, how, from_failure=from_failure) == []
    assert place.ran() == 1


def test_another_url(place: Place) -> None:
    """With another LedgerResource(url=...) both ledgers are named."""
    one, other = (Settings(ledger={"url": str(place.path / name)}) for name in ("one.db", "other.db"))
    [warning] = place.again(place.first(one), other)
    assert place.ran() == UNITS
    assert "one.db" in warning and "other.db, holds none of them" in warning and SETTING in warning


def test_the_environment_variable_is_not_set_in_this_process(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FANOUT_LEDGER_URL was set for the first run alone: the second one names what it used in its place."""
    monkeypatch.setenv("FANOUT_LEDGER_URL", str(place.path / "named.db"))
    earlier = place.first()
    monkeypatch.delenv("FANOUT_LEDGER_URL")
    [warning] = place.again(earlier)
    assert place.ran() == UNITS
    assert "named.db" in warning and f"{place.ledger()}, holds none of them" in warning and SETTING in warning


def test_the_password_of_a_ledger_is_not_shown(place: Place, postgres_url: str) -> None:
    """A ledger in PostgreSQL is named by its URL without the password."""
    url = postgres_url.replace("tester@", "tester:secret@")
    earlier = place.first(Settings(ledger={"url": url}))
    [warning] = place.again(earlier)
    assert postgres_url.rpartition("/")[2] in warning and "tester:***@" in warning
    with place.instance() as instance:
        assert not [event for event in instance.all_logs(earlier) if "secret" in event.to_json()]


@pytest.mark.parametrize("loss", ["pruned", "deleted"])
def test_a_ledger_of_the_same_name_that_holds_nothing(place: Place, loss: str) -> None:
    """Pruned, deleted, or the same path in another pod: the run says that it is not what it was."""
    earlier = place.first()
    if loss == "pruned":
        with Ledger(place.ledger()) as ledger:
            ledger.prune(LedgerFilter(lineage=earlier))
    else:
        for file in (place.path / "home").glob("fanout_ledger.db*"):
            file.unlink()
    [warning] = place.again(earlier)
    assert place.ran() == UNITS
    assert place.ledger() in warning and "it has been pruned or replaced" in warning and SETTING in warning


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (OFF, Settings(), "had no ledger to keep their outcomes in; this run's ledger, "),
        (Settings(), OFF, "fanout_ledger.db; this run has no ledger."),
        (OFF, OFF, "had no ledger to keep their outcomes in; this run has no ledger."),
    ],
    ids=["in the first", "in the second", "in both"],
)
def test_a_ledger_that_is_switched_off(place: Place, first: Settings, second: Settings, text: str) -> None:
    """Without a ledger in one of the two runs the second says which of them had none."""
    [warning] = place.again(place.first(first), second)
    assert place.ran() == UNITS
    assert text in warning and SETTING in warning


@pytest.mark.parametrize(("executor", "from_failure"), [("fanout", True), ("in_process", False)])
def test_a_run_that_was_killed_in_its_first_record(place: Place, executor: str, from_failure: bool) -> None:
    """Units that had ended count, also where the kill came before any step of theirs had ended."""
    how = Settings(executor, workers=1)
    earlier = place.killed("0.1" if executor == "in_process" else "1.2", how)
    assert place.ran() > 0
    [warning] = place.again(earlier, how, home="moved", from_failure=from_failure)
    # From failure, a record whose step had just ended is not run again.
    assert place.ran() >= UNITS // 2
    assert place.ledger() in warning and place.ledger("moved") in warning


@pytest.mark.parametrize("home", ["home", "moved"])
def test_a_run_that_was_killed_before_any_unit_had_ended(place: Place, home: str) -> None:
    """Nothing was lost, and nothing is said."""
    how = Settings("in_process", workers=1)
    earlier = place.killed("0.0", how)
    assert place.again(earlier, how, home=home, from_failure=True) == []
    assert place.ran() == UNITS


def test_every_asset_of_the_run_is_named_once(place: Place) -> None:
    """Two assets whose outcomes are lost have a warning each; one that the earlier run has left out has none."""
    with place.instance() as instance:
        earlier = run(instance, place.work, Settings(assets=("numbers", "others")))
    found = place.again(earlier.run_id, Settings(assets=("numbers", "others")), home="moved")
    assert sorted(warning.partition(" in the ledger")[0] for warning in found) == [
        f"Run {earlier.run_id} has kept outcomes of {asset}" for asset in ("numbers", "others")
    ]


def test_the_first_run_of_a_lineage_counts_after_others_that_lost_nothing(place: Place) -> None:
    """A resume that is killed before it has done anything does not hide what the run before it has kept."""
    how = Settings("in_process", workers=1)
    first = place.first(how)
    with place.instance("moved") as instance:
        second = run(
            instance, place.work, how, dg.ReexecutionOptions(parent_run_id=first), policy={"max_records": 1}
        )
        assert not second.success
    place.ran()
    [warning] = place.again(second.run_id, how, home="moved")
    assert f"Run {first} " in warning
    # And from now on the ledger of this home knows the lineage.
    assert place.again(second.run_id, how, home="moved") == []


NOTHING_LOST: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "the run may reuse nothing": ({}, {"policy": {"reuse": "never"}, "home": "moved"}, UNITS),
    "another selection of assets": ({}, {"how": Settings(assets=("others",)), "home": "moved"}, UNITS),
    "no units": ({"units": 0}, {"units": 0, "home": "moved"}, 0),
    "no units any more": ({}, {"units": 0, "home": "moved"}, 0),
    "every unit is another one": ({}, {"first": 100}, UNITS),
    "more records": ({}, {"records": 3}, 3),
    "success is not the last word": (
        {"how": Settings(assets=("letters",))},
        {"how": Settings(assets=("letters",)), "home": "moved"},
        UNITS,
    ),
}


@pytest.mark.parametrize("case", NOTHING_LOST)
def test_nothing_was_lost(place: Place, case: str) -> None:
    """Where the earlier run has left nothing that this one could have reused, nothing is said."""
    before, after, expected = NOTHING_LOST[case]
    with place.instance() as instance:
        first = run(instance, place.work, **before)
        assert first.success
        assert warnings(instance, first.run_id) == []
    place.ran()
    assert place.again(first.run_id, **after) == []
    assert place.ran() == expected


def test_all_units_had_failed(place: Place) -> None:
    """Units without success run again in any case: a ledger that does not know them costs nothing."""
    place.order("fail all")
    with place.instance() as instance:
        first = run(instance, place.work)
        assert not first.success
    (place.work / "fail all").unlink()
    assert place.again(first.run_id, home="moved") == []


def test_reuse_always(place: Place) -> None:
    """What an earlier run took from an older lineage is no loss if this one finds it there; else it is."""
    policy = {"reuse": "always"}
    with place.instance() as instance:
        assert run(instance, place.work).success
        second = run(instance, place.work, policy=policy)
        assert place.ran() == UNITS
    assert place.again(second.run_id, policy=policy) == []
    assert place.ran() == 0
    third = place.first(first=100, policy=policy)
    assert place.again(third, policy=policy, first=100) == []
    [warning] = place.again(third, policy=policy, first=100, home="moved")
    assert place.ledger("moved") in warning
    # There the ledger knows the units now, though of another run.
    assert place.again(third, policy=policy, first=100, home="moved") == []
