"""What a run takes from the ledger instead of running it."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from project_fanout.engine import FanoutPolicy, InlinePool, Record, Unit
from project_fanout.engine.ledger import InWork, Ledger
from project_fanout.engine.ledger.in_work import note, unit_id
from project_fanout.engine.memory import LedgerMemory
from project_fanout.engine.policy import Reuse
from project_fanout.engine.record_state import RecordState
from project_fanout.engine.runner import StageRun
from project_fanout.engine.stages import describe_stage
from project_fanout.engine.tally import Tally
from project_fanout_tests.engine.ledger.support import SCOPE
from project_fanout_tests.orchestration.ledger_work import counted, counted_each_time, writes_a_file


def ran(folder: Path, reuse: Reuse, payloads: str, stage: Any = counted, **params: Any) -> int:
    """Run a record with a unit per letter of *payloads*; return how many units have run."""
    before = len(list(folder.iterdir()))
    given = {"folder": str(folder), **params}
    with Ledger(folder.parent / "ledger.db") as ledger:
        StageRun(
            stage=describe_stage(stage),
            index=0,
            is_last=True,
            params=given,
            params_json=json.dumps(given, sort_keys=True),
            policy=FanoutPolicy(reuse=reuse),
            pool=InlinePool(),
            tally=Tally(),
            budget="asset",
            memory=LedgerMemory(ledger, SCOPE, "run", "", reuse),
        ).advance([RecordState.of(Record("r", [Unit(str(i), each) for i, each in enumerate(payloads)]))])
    return len(list(folder.iterdir())) - before


@pytest.mark.parametrize("reuse", ["lineage", "always"])
def test_only_the_same_unit_is_reused(reuse: Reuse, tmp_path: Path) -> None:
    """With another payload or other params a unit of the same key is another unit."""
    (folder := tmp_path / "work").mkdir()
    assert ran(folder, reuse, "abc") == 3
    assert ran(folder, reuse, "abc") == 0
    assert ran(folder, reuse, "abz") == 1
    assert ran(folder, reuse, "abz", upper=True) == 3


def test_never_reuses_nothing(tmp_path: Path) -> None:
    """With `reuse: never` every unit runs, also within a lineage."""
    (folder := tmp_path / "work").mkdir()
    assert ran(folder, "lineage", "abc") == 3
    assert ran(folder, "never", "abc") == 3


@pytest.mark.parametrize("reuse", ["lineage", "always"])
def test_a_result_is_reused_only_while_what_it_names_is_there(reuse: Reuse, tmp_path: Path) -> None:
    """A file that the unit has written: gone or changed, the unit is run again, and no other is."""
    (folder := tmp_path / "work").mkdir()
    files = tmp_path / "files"
    files.mkdir()

    def run() -> int:
        return ran(folder, reuse, "abc", stage=writes_a_file, files=str(files))

    assert run() == 3
    assert run() == 0
    (files / "1").unlink()
    assert run() == 1
    (files / "2").write_text("changed")
    assert run() == 1
    assert run() == 0


def test_a_stage_that_is_never_reused_runs_whatever_runs_have_died(tmp_path: Path) -> None:
    """It keeps its own account, say of mail that has been sent, and gives that only when it runs."""
    (folder := tmp_path / "work").mkdir()
    died = InWork(SCOPE, "a run that died", 0, "r", "0", died=1)
    for stage, ran_again in ((counted, 0), (counted_each_time, 1)):
        with Ledger(tmp_path / "ledger.db") as ledger:
            ledger._database.write(partial(note, begun={unit_id(died): died}, ended=()))
        assert ran(folder, "lineage", "a", stage) == ran_again
