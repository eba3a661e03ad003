"""What a run does when its ledger cannot be used, and what it takes from the ledger when it can."""

import json
import sqlite3
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from project_fanout.engine import Fanout, FanoutPolicy, Record, Unit
from project_fanout.engine.ledger import Ledger, LedgerEntry, LedgerFilter
from project_fanout.orchestration import LedgerResource, UnitPoolResource, build_fanout_asset
from project_fanout_tests.engine.ledger.support import locked
from project_fanout_tests.orchestration.ledger_work import counted, letters
from project_fanout_tests.orchestration.support import INLINE, failure_text, materialization
from project_fanout_tests.processes import start
from project_fanout_tests.waiting import wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "ledger.db"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder for the marks of the units."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def run(
    work: Path,
    url: object,
    *,
    code_version: str | None = None,
    reuse: str = "lineage",
    lock_timeout_s: float = 60.0,
    **params: Any,
) -> Any:
    """Materialise an asset with a ledger at *url*; its units run in this process and leave marks in *work*."""
    words = build_fanout_asset("words", records=letters, stages=[counted], code_version=code_version)
    config = {"params": {"folder": str(work), **params}, "policy": {"reuse": reuse}}
    return dg.materialize(
        [words],
        resources={
            "unit_pool": UnitPoolResource(kind="inline"),
            "ledger": LedgerResource(url=str(url), lock_timeout_s=lock_timeout_s),
        },
        run_config={"ops": {"words": {"config": config}}},
        raise_on_error=False,
    )


def kept(path: Path) -> list[LedgerEntry]:
    """Return the successes in the ledger."""
    with Ledger(path, create=False) as ledger:
        return ledger.entries(LedgerFilter(status="succeeded"))


def ran(work: Path) -> int:
    """Return how many units have run, and forget them."""
    marks = list(work.iterdir())
    for mark in marks:
        mark.unlink()
    return len(marks)


def test_reuse(work: Path, path: Path) -> None:
    """With `reuse: always` a unit is computed again for another payload, params or code_version, else not.

    A fresh run computes everything otherwise, and with `never` every run does.
    """
    cases: list[tuple[str, dict[str, Any], int]] = [
        ("first run", {}, 6),
        ("fresh run", {}, 6),
        ("nothing has changed", {"reuse": "always"}, 0),
        ("another payload of one unit", {"reuse": "always", "last": "z"}, 1),
        ("another param", {"reuse": "always", "upper": True}, 6),
        ("the same once more", {"reuse": "always", "upper": True}, 0),
        ("another code_version", {"reuse": "always", "code_version": "2"}, 6),
        ("never", {"reuse": "never"}, 6),
    ]
    for what, changes, expected in cases:
        result = run(work, path, **{"code_version": "1", **changes})
        assert result.success
        assert ran(work) == expected, what
        letters_expected = f"abcde{changes.get('last', 'f')}"
        words = "".join(result.output_for_node("words")["result"])
        assert words == (letters_expected.upper() if changes.get("upper") else letters_expected), what


def alike() -> list[Record]:
    """Return two records whose units have different keys and the same payload."""
    return [Record(record, [Unit(f"{record} {number}", 2) for number in "12"]) for record in "ab"]


def into_halves(unit: Unit) -> Fanout:
    """Fan out into as many units as the payload says, named after their parent."""
    return Fanout([Unit(f"{unit.key}/{number}") for number in range(unit.payload)])


def named(unit: Unit) -> str:
    """Return the unit's key."""
    return unit.key


def test_reuse_always_never_gives_a_unit_the_result_of_another_one(path: Path) -> None:
    """Its key is part of what a stage is given: units that have the same payload are told apart by it."""
    resources: dict[str, Any] = {**INLINE, "ledger": LedgerResource(url=str(path))}
    policy = FanoutPolicy(reuse="always")
    both = build_fanout_asset("halves", records=alike, stages=[into_halves, named], policy=policy)
    expected = [f"{record} {number}/{half}" for record in "ab" for number in "12" for half in "01"]
    for reused in (None, 12):
        result = dg.materialize([both], resources=resources)
        assert result.output_for_node("halves")["result"].tolist() == expected
        assert materialization(result, both).get("reused") == reused
    # Without its second stage the first one has to fail as it does where nothing is known of it.
    one = build_fanout_asset("halves", records=alike, stages=[into_halves], policy=policy)
    assert "returned a Fanout, but no stage follows" in failure_text(
        dg.materialize([one], resources=resources, raise_on_error=False)
    )


@pytest.mark.parametrize("named", [True, False])
def test_an_ephemeral_run_has_the_ledger_that_the_environment_names(
    work: Path, path: Path, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With FANOUT_LEDGER_URL `materialize_to_memory` writes to it; without, it has none."""
    monkeypatch.delenv("FANOUT_LEDGER_URL", raising=False)
    if named:
        monkeypatch.setenv("FANOUT_LEDGER_URL", str(path))
    words = build_fanout_asset("words", records=letters, stages=[counted], params={"folder": str(work)})
    assert dg.materialize_to_memory([words], resources=INLINE).success
    assert (len(kept(path)) if path.exists() else None) == (6 if named else None)


def test_the_ledger_is_locked_for_a_while(work: Path, path: Path) -> None:
    """A run waits for another process that has the ledger locked, and loses no outcome."""
    assert run(work, path).success
    with locked(path) as release:
        threading.Timer(0.5, release.set).start()
        assert run(work, path).success
    assert len(kept(path)) == 12


def read_only(path: Path) -> str:
    return f"sqlite:///file:{path}?mode=ro&uri=true"


def corrupt(path: Path) -> str:
    with path.open("r+b") as file:
        file.write(b"somebody's notes" * 300)
    return str(path)


def older(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE fanout_ledger_schema SET version = 0")
    connection.close()
    return str(path)


@pytest.mark.parametrize(
    ("breaks", "text"),
    [
        (read_only, "Allow this user to write it"),
        (corrupt, "It is damaged"),
        (older, "schema version 0, of an older project_fanout"),
        (str, "Another process has kept it locked for 0.2 s"),
    ],
    ids=["read-only", "corrupt", "older schema", "locked for good"],
)
def test_a_ledger_that_cannot_be_used_fails_the_run_before_its_first_unit(
    work: Path, path: Path, breaks: Any, text: str
) -> None:
    """The run's own failure names the ledger and the remedy; no unit has run."""
    assert run(work, path).success
    assert ran(work) == 6
    url = breaks(path)
    with locked(path) if breaks is str else nullcontext():
        result = run(work, url, lock_timeout_s=0.2)
    assert text in failure_text(result)
    assert "ledger.db" in failure_text(result)
    assert ran(work) == 0


def test_the_disk_is_full(work: Path, path: Path) -> None:
    """The run fails and says so, since it could not be resumed; with room again it goes through."""
    assert run(work, path).success

    def leave_no_room(raw: Any, _: object) -> None:
        if raw.execute("PRAGMA database_list").fetchone()[2] == str(path):
            raw.execute("PRAGMA max_page_count = 1")

    event.listen(Engine, "connect", leave_no_room)
    try:
        result = run(work, path, size=100_000)
    finally:
        event.remove(Engine, "connect", leave_no_room)
    failures = [str(event.step_failure_data.error) for event in result.all_events if event.is_step_failure]
    assert failures
    assert all("Make room" in text and str(path) in text for text in failures)
    assert not result.asset_materializations_for_node("words")
    assert run(work, path, size=100_000).success
    assert len(kept(path)) == 12


def test_two_runs_at_once_keep_apart(tmp_path: Path, work: Path, path: Path) -> None:
    """Each of two runs of one asset computes all of its units and keeps all of its outcomes."""
    others_work = tmp_path / "others work"
    others_work.mkdir()
    script = (
        "import sys, pathlib\n"
        "from project_fanout_tests.orchestration.test_faults_of_the_ledger import run\n"
        "assert run(pathlib.Path(sys.argv[1]), sys.argv[2], meet=True, upper=True).success\n"
    )
    other = start("-c", script, str(others_work), str(path), home=tmp_path)
    try:
        wait_until(lambda: len(list(others_work.iterdir())) == 3, "half of it is done", 60)
        mine = run(work, path)
        (others_work / "go on").touch()
        assert other.wait(timeout=60) == 0
    finally:
        other.kill()
        other.wait()
    assert mine.success
    assert (ran(work), ran(others_work)) == (6, 6 + 1)
    by_run: dict[bool, list[str]] = {True: [], False: []}
    for entry in kept(path):
        by_run[entry.run_id == mine.run_id].append(json.loads(entry.outcome.encoded or ""))
    assert {mine: sorted(found) for mine, found in by_run.items()} == {True: [*"abcdef"], False: [*"ABCDEF"]}
