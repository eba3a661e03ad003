"""Executors, hash seeds, the command line and a kill: across processes the asset is the same, and whole."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from project_fanout_tests.engine.pools.support import child_pids, lives
from project_fanout_tests.instances import new_home
from project_fanout_tests.orchestration import jobs
from project_fanout_tests.orchestration.support import assert_same, table
from project_fanout_tests.processes import Process, run_python, start
from project_fanout_tests.waiting import wait_until

COMMAND = ("-m", "dagster", "job", "execute", "-m", jobs.__name__, "-j")


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """Return an instance that other processes share: its DAGSTER_HOME is in the environment."""
    home = new_home(tmp_path / "home")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as found:
        yield found


def execute_job(name: str, config: Path, home: Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a job from the command line."""
    return run_python(*COMMAND, name, "-c", str(config), home=home, **options)


def start_job(name: str, config: Path, home: Path, log: Path) -> Process:
    """Start a job from the command line; what it prints goes to *log*."""
    with log.open("w") as output:
        return start(*COMMAND, name, "-c", str(config), home=home, output=output, errors=output)


def descendants(pid: int) -> set[int]:
    """Return the processes below *pid*."""
    found: set[int] = set()
    parents: list[int] = [pid]
    while parents:
        below = {child for parent in parents for child in child_pids(parent)} - found
        found |= below
        parents = list(below)
    return found


def written(folder: Path, config: Any) -> Path:
    """Return a file with this run config."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_executor_and_hash_seed_do_not_matter(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one process, in a process per step, and from the command line, under two hash seeds: one table."""
    expected = table(jobs.chain, params={"offset": 5})
    config: dict[str, Any] = {"ops": {"chain": {"config": {"params": {"offset": "5"}}}}}

    run = execute_job(
        "in_process", written(tmp_path, config), tmp_path / "home", fresh=True, PYTHONHASHSEED="1"
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert_same(jobs.defs.load_asset_value("chain", instance=instance), expected)

    monkeypatch.setenv("PYTHONHASHSEED", "2")
    config["ops"]["chain"]["config"]["policy"] = {"records_per_step": 4}  # a process per step takes its time
    with dg.execute_job(
        dg.reconstructable(jobs.multiprocess), instance=instance, run_config=config
    ) as result:
        assert result.success
        steps = {event.step_key: event.pid for event in result.get_step_success_events()}
    assert len(steps) == len(set(steps.values())) == 4
    assert os.getpid() not in steps.values()
    materialized = instance.get_latest_materialization_event(dg.AssetKey("chain"))
    assert materialized is not None
    assert materialized.run_id == result.run_id
    assert_same(jobs.defs.load_asset_value("chain", instance=instance), expected)


def test_the_command_line_refuses_bad_run_config(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """With asset, param, value and what is accepted on standard error, before any unit."""
    marks = tmp_path / "marks"
    marks.mkdir()
    bad = {"params": {"folder": str(marks), "count": "many"}, "policy": {"max_attempts": 0}}
    run = execute_job("held_job", written(tmp_path, {"ops": {"held": {"config": bad}}}), tmp_path / "home")
    assert run.returncode != 0
    assert "ops: held: config: params: count is 'many', accepted: int" in run.stderr
    assert "max_attempts is 0, accepted: int, 1 to 100" in run.stderr
    assert not list(marks.iterdir())


def test_no_step_outlives_a_killed_run_under_the_multiprocess_executor(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """SIGKILL of the run's process: its steps' processes and their workers are gone, too, and compute no further."""
    marks = tmp_path / "marks"
    marks.mkdir()
    params = {"folder": str(marks), "count": 1, "units": 2, "at": "r0u0"}
    config = written(tmp_path, {"ops": {"held": {"config": {"params": params}}}})
    run = start_job("held_multiprocess", config, tmp_path / "home", tmp_path / "log")
    wait_until(lambda: (marks / "r0u0.0").exists() or run.poll() is not None, "a unit runs", 120)
    assert run.poll() is None, (tmp_path / "log").read_text()[-3000:]
    below = descendants(run.pid)
    assert len(below) > 2
    run.send_signal(signal.SIGKILL)
    run.wait(30)
    wait_until(lambda: not any(map(lives, below)), "all are gone")


def test_a_killed_run_is_completed_from_failure(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """SIGKILL with three of six records done; re-execution "from failure" gives the whole table.

    Dagster passes over the mapped steps that never started and still collects: what is missing runs there.
    """
    marks = tmp_path / "marks"
    marks.mkdir()
    params = {"folder": str(marks), "count": 6, "units": 2, "at": "r3u0"}
    config = {"ops": {"held": {"config": {"params": params}}}}
    run = start_job("held_job", written(tmp_path, config), tmp_path / "home", tmp_path / "log")
    wait_until(lambda: (marks / "r3u0.0").exists() or run.poll() is not None, "the fourth record runs", 120)
    assert run.poll() is None, (tmp_path / "log").read_text()[-3000:]
    run.send_signal(signal.SIGKILL)
    run.wait(30)
    (killed,) = instance.get_runs()
    # What run monitoring does about a run whose process is gone.
    instance.report_run_failed(killed)
    done_before = sorted(path.name for path in marks.iterdir() if path.name[:2] in ("r0", "r1", "r2"))
    assert done_before == [f"r{record}u{unit}.0" for record in range(3) for unit in range(2)]
    (marks / "release").touch()

    with dg.execute_job(
        dg.reconstructable(jobs.held_job),
        instance=instance,
        reexecution_options=dg.ReexecutionOptions.from_failure(killed.run_id, instance),
    ) as result:
        assert result.success
    frame = jobs.defs.load_asset_value("held", instance=instance)
    assert_same(frame, table(jobs.held, params={**params, "folder": str(tmp_path / "home"), "at": ""}))
    assert len(frame) == 12
    assert not list(marks.glob("r[012]u*.1")), "records that were done are not done again"
    warnings = [entry.user_message for entry in instance.all_logs(result.run_id) if entry.level == 30]
    assert any("of 6 records unfinished" in each for each in warnings)
    [materialized] = result.asset_materializations_for_node("held.collect_records")
    repaired = materialized.metadata["repaired_records"].value.splitlines()
    assert repaired[0] == "| record | units run | without success |"
    assert {line.split(" | ")[0] for line in repaired[2:]} <= {"| record 3", "| record 4", "| record 5"}
    assert "| record 5 | 2 | 0 |" in repaired
    checks = result.get_asset_check_evaluations()
    assert [check.passed for check in checks] == [True]
