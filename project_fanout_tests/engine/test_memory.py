"""What a run takes from the ledger instead of running it."""

import json
from pathlib import Path
from typing import Any

import pytest

from project_fanout.engine import FanoutPolicy, InlinePool, Record, Unit
from project_fanout.engine.ledger import Ledger
from project_fanout.engine.memory import LedgerMemory
from project_fanout.engine.policy import Reuse
from project_fanout.engine.record_state import RecordState
from project_fanout.engine.runner import StageRun
from project_fanout.engine.stages import describe_stage
from project_fanout.engine.tally import Tally
from project_fanout_tests.engine.ledger.support import SCOPE
from project_fanout_tests.orchestration.ledger_work import counted


def ran(folder: Path, reuse: Reuse, payloads: str, **params: Any) -> int:
    """Run a record with a unit per letter of *payloads*; return how many units have run."""
    before = len(list(folder.iterdir()))
    given = {"folder": str(folder), **params}
    with Ledger(folder.parent / "ledger.db") as ledger:
        StageRun(
            stage=describe_stage(counted),
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
