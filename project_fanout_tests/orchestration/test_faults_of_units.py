"""What a unit does to its worker costs that unit, seen through a whole asset and its run."""

import os
import signal
import threading
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from project_fanout.engine import FanoutPolicy
from project_fanout.engine.ledger import Ledger, LedgerFilter
from project_fanout.orchestration import LedgerResource, UnitPoolResource, build_fanout_asset
from project_fanout_tests.engine.pools.support import lives
from project_fanout_tests.engine.runner_stages import mark
from project_fanout_tests.orchestration.support import failure_text
from project_fanout_tests.orchestration.unit_faults import (
    die_if_bad,
    many_units,
    obey,
    told_records,
    wait_to_be_killed,
)
from project_fanout_tests.waiting import wait_until

DEADLINE_S = 1.5
#: What a unit does, how its attempt ends, and what its error says.
FAULTS: dict[str, tuple[list[Any], str, str]] = {
    "exits": (["exit_process", 3], "crashed", "exit code 3"),
    "is killed": (["kill_self", signal.SIGKILL.value], "crashed", "SIGKILL"),
    "segfaults": (["segfault", None], "crashed", "SIGSEGV"),
    "hits the memory limit": (["want_memory", 2**33], "crashed", "memory_limit_mb of the pool is 2048"),
    "raises what cannot be pickled": (["raise_chained", 1], "failed", "NeedsKeyword: code 7"),
    "raises what has no text": (["raise_unspeakable", None], "failed", "Unspeakable"),
    "returns a generator": (
        ["return_odd", "generator"],
        "failed",
        "result['sizes'][1] is a generator, which cannot",
    ),
    "returns a lock": (["return_odd", "lock"], "failed", "is a _thread.lock, which cannot travel"),
    "returns a function": (["return_odd", "function"], "failed", "is a function, which cannot travel"),
}
HANGS: dict[str, tuple[list[Any], str, str]] = {
    "hangs": (["hang", ""], "timed_out", "deadline of 1.5 s"),
    "hangs and ignores SIGTERM": (["hang_deaf", None], "timed_out", "deadline of 1.5 s"),
    "hangs with children": (["hang_with_children", "{folder}/pids"], "timed_out", "deadline of 1.5 s"),
}


def policy(**fields: Any) -> dict[str, Any]:
    return {"retry_delay_s": 0.0, **fields}


def table_of(
    faults: dict[str, tuple[list[Any], str, str]], folder: Path, **policy_fields: Any
) -> pd.DataFrame:
    """Return the rows of the units that do what *faults* says, each of which has failed alone and as it says."""
    asset = build_fanout_asset("faults", records=told_records, stages=[obey])
    plan = {
        name: [stage, payload.format(folder=folder) if isinstance(payload, str) else payload]
        for name, ((stage, payload), _, _) in faults.items()
    }
    config = {"params": {"plan": plan}, "policy": policy(max_failed_ratio=1.0, **policy_fields)}

    result = dg.materialize(
        [asset],
        resources={"unit_pool": UnitPoolResource(max_workers=2, memory_limit_mb=2048)},
        run_config={"ops": {"faults": {"config": config}}},
    )

    table: pd.DataFrame = result.output_for_node("faults")
    assert len(table) == 3 * len(faults)
    faulty = table[table["unit_key"] == table["record_key"]].set_index("unit_key")
    assert faulty["status"].to_dict() == {name: status for name, (_, status, _) in faults.items()}
    for name, (_, _, text) in faults.items():
        assert text in faulty["error"][name], (name, faulty["error"][name])
    siblings = table[table["unit_key"] != table["record_key"]]
    assert siblings["status"].eq("succeeded").all()
    return faulty


def test_every_way_to_fail_costs_that_unit_alone(tmp_path: Path) -> None:
    """Crash, memory limit, results and errors that cannot travel: an outcome, and its siblings succeed."""
    table_of(FAULTS, tmp_path)


def test_every_way_to_hang_costs_that_unit_alone(tmp_path: Path) -> None:
    """A hung unit ends within 2 s of its deadline, its process tree is gone, and its siblings succeed."""
    hung = table_of(HANGS, tmp_path, unit_timeout_s=DEADLINE_S)

    assert hung["seconds"].between(DEADLINE_S, DEADLINE_S + 2).all(), hung["seconds"]
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 3
    wait_until(lambda: not any(map(lives, pids)), "the worker and both children are gone")


def test_every_worker_is_killed_twice(tmp_path: Path) -> None:
    """SIGKILL of all workers, and of all that take their place: the units are tried again, the run goes on."""
    waits = build_fanout_asset("waits", records=many_units, stages=[wait_to_be_killed])
    killed: set[int] = set()

    def dead(pid: int) -> bool:
        return not lives(pid)

    def kill_all() -> None:
        def fresh() -> list[int]:
            found = {int(path.name) for path in tmp_path.glob("[0-9]*")} - killed
            return sorted(found) if len(found) == 2 else []

        for _ in range(2):
            for pid in wait_until(fresh, "both workers are at work", 60):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
                wait_until(partial(dead, pid), "it is dead")
            for pid in killed:
                (tmp_path / f"killed {pid}").touch()

    killer = threading.Thread(target=kill_all)
    killer.start()
    config = {
        "params": {"folder": str(tmp_path), "records": 2},
        "policy": policy(max_attempts=3, strategy="parallel"),
    }
    result = dg.materialize(
        [waits],
        resources={"unit_pool": UnitPoolResource(max_workers=2)},
        run_config={"ops": {"waits": {"config": config}}},
    )
    killer.join(timeout=60)

    table = result.output_for_node("waits")
    assert len(killed) == 4
    assert table["status"].tolist() == ["succeeded"] * 20
    assert table["attempts"].sum() == 20 + 4


def test_one_that_always_kills_its_worker_among_a_thousand(tmp_path: Path) -> None:
    """999 succeed, the attempts of the one are used up, and the run's failure names it."""
    thousand = build_fanout_asset("thousand", records=many_units, stages=[die_if_bad])
    ledger = tmp_path / "ledger.db"
    config = {
        "params": {"units": 100, "key": "bad 6.99"},
        "policy": policy(max_attempts=3),
    }

    result = dg.materialize(
        [thousand],
        resources={"ledger": LedgerResource(url=str(ledger))},
        run_config={"ops": {"thousand": {"config": config}}},
        raise_on_error=False,
    )

    assert not result.success
    text = failure_text(result)
    assert "1 of 1000 units ended without success" in text
    assert "record 'record 6', unit 'bad 6.99', stage die_if_bad: crashed after 3 attempts" in text
    with Ledger(ledger, create=False) as kept:
        assert len(kept.entries(LedgerFilter(status="succeeded"))) == 999
        [crashed] = kept.entries(LedgerFilter(status="crashed"))
    assert (crashed.outcome.unit_key, crashed.outcome.attempts) == ("bad 6.99", 3)


@pytest.mark.parametrize("fail_fast", [False, True])
@pytest.mark.parametrize(("ratio", "fails", "needed"), [(0.0, True, 10), (0.05, True, 60), (0.2, False, 100)])
def test_a_tenth_of_the_units_fails(
    tmp_path: Path, ratio: float, fails: bool, needed: int, fail_fast: bool
) -> None:
    """Above max_failed_ratio the run fails, at or below it the asset materialises and its check tells.

    With fail_fast it fails as soon as that is certain: after *needed* units and those that were in work.
    """
    tenth = build_fanout_asset(
        "tenth", records=many_units, stages=[mark], policy=FanoutPolicy(max_failed_ratio=ratio)
    )
    config = {
        "params": {"folder": str(tmp_path), "fail": "bad"},
        "policy": policy(fail_fast=fail_fast, max_failed_ratio=ratio),
    }

    result = dg.materialize(
        [tenth],
        resources={"unit_pool": UnitPoolResource(max_workers=2)},
        run_config={"ops": {"tenth": {"config": config}}},
        raise_on_error=False,
    )

    ran = len(list(tmp_path.iterdir()))
    if fail_fast and fails:
        # Two in work and two on their way to each worker.
        assert needed <= ran <= needed + 4
    else:
        assert ran == 100
    assert result.success is not fails
    if fails:
        assert "RuntimeError: bad 0.9 was told to fail" in failure_text(result)
        assert not result.asset_materializations_for_node("tenth")
        assert ("were not started, because fail_fast is on" in failure_text(result)) is fail_fast
    else:
        assert result.output_for_node("tenth")["status"].value_counts().to_dict() == {
            "succeeded": 90,
            "failed": 10,
        }
        [check] = result.get_asset_check_evaluations()
        assert (check.check_name, check.passed) == ("all_units_succeeded", False)
        assert check.metadata["failed"].value == 10
