"""How a run ends that does not end by itself: cancelled, killed, or broken."""

import json
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from project_fanout.orchestration.executor import incremental
from project_fanout_tests.instances import with_tables
from project_fanout_tests.orchestration.executor import streaming_jobs
from project_fanout_tests.processes import Process, command_lines, start
from project_fanout_tests.waiting import wait_until

SETTINGS = {"telemetry": {"enabled": False}}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    with_tables(folder)
    (folder / "dagster.yaml").write_text(yaml.safe_dump(SETTINGS))
    return folder


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


def start_run(home: Path, name: str, config: dict[str, Any]) -> Process:
    """Execute a job in a process of its own."""
    return start("-m", streaming_jobs.__name__, str(home), name, json.dumps(config), home=home)


def ends_of_steps(instance: dg.DagsterInstance, run_id: str) -> dict[str | None, list[str]]:
    """Return the terminal events of each step that has started."""
    terminal = {"STEP_SUCCESS", "STEP_FAILURE", "STEP_SKIPPED", "STEP_UP_FOR_RETRY"}
    ends: dict[str | None, list[str]] = {}
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is not None and event.is_step_start:
            ends.setdefault(event.step_key, [])
        elif event is not None and event.event_type_value in terminal:
            ends.setdefault(event.step_key, []).append(event.event_type_value)
    return ends


@pytest.mark.parametrize(
    ("name", "resource", "mark", "cancelled"),
    [
        ("waiting", "gate", "waiting 2", True),
        ("waiting", "gate", "waiting 2", False),
        ("stuck", "folder", "asleep 2", False),
        ("napping", "folder", "asleep 2", True),
        ("awaiting", "link", "asleep 2", True),
        ("blocked", "link", "asleep 2", True),
        ("with_children", "folder", "asleep 2", True),
    ],
    ids=[
        "cancelled in the UI",
        "SIGTERM",
        "steps that nothing can wake",
        "steps that run Python",
        "steps that await",
        "a step that blocks the event loop",
        "steps that wait for processes",
    ],
)
def test_an_interrupted_run_ends_and_leaves_nothing(
    home: Path, marks: Path, name: str, resource: str, mark: str, cancelled: bool
) -> None:
    """The process is gone within seconds, each step under way has failed once, no other has started.

    Steps of `waiting` are released when their resource is torn down, as a pool's futures are; those
    of `stuck` sleep for an hour in C code. Those of `napping` see the interrupt, so that they can tidy
    up, and give back their slots of a concurrency pool. Those of `awaiting` are cancelled, and can tidy
    up while the connection that they use is still open; those of `blocked` cannot, since one of them
    has stopped the event loop. Those of `with_children` have started processes, which end with them.
    """
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.event_log_storage.set_concurrency_slots("beds", 3)
    process = start_run(home, name, streaming_jobs.config(marks, resource))
    try:
        wait_until(
            lambda: {mark[:-1] + number for number in "012"} <= set(os.listdir(marks)), "all three wait"
        )
        with dg.DagsterInstance.from_config(str(home)) as instance:
            [run] = instance.get_runs()
            if cancelled:
                instance.report_run_canceling(run)
            process.send_signal(signal.SIGINT if cancelled else signal.SIGTERM)
            process.wait(timeout=20)
            status = instance.get_run_by_id(run.run_id)
            assert status is not None
            expected = dg.DagsterRunStatus.CANCELED if cancelled else dg.DagsterRunStatus.FAILURE
            assert status.status is expected
            ends = ends_of_steps(instance, run.run_id)
            assert instance.event_log_storage.get_concurrency_info("beds").claimed_slots == []
    finally:
        process.kill()
        process.wait()
    assert command_lines("sleep 613.") == []
    woken = {each for each in os.listdir(marks) if each.startswith("woken")}
    assert woken == ({"woken 0", "woken 1", "woken 2"} if name in ("napping", "awaiting") else set())
    op = {
        "waiting": "waits_for_pool",
        "stuck": "sleeps_for_ever",
        "napping": "naps",
        "awaiting": "awaits",
        "blocked": "blocks_the_loop",
        "with_children": "waits_for_a_child",
    }[name]
    assert ends == {"three_items": ["STEP_SUCCESS"], **{f"{op}[k{n}]": ["STEP_FAILURE"] for n in range(3)}}


def test_a_killed_run_keeps_every_event_and_can_be_resumed(home: Path, marks: Path) -> None:
    """After SIGKILL the log holds what steps have seen stored; a re-execution from failure does not hang."""
    process = start_run(home, "waiting", streaming_jobs.config(marks, "gate"))
    try:
        wait_until(
            lambda: {"waiting 0", "waiting 1", "waiting 2"} <= set(os.listdir(marks)), "all three wait"
        )
    finally:
        process.kill()
        process.wait()
    with dg.DagsterInstance.from_config(str(home)) as instance:
        [run] = instance.get_runs()
        # A step that has left its mark had its start and its input acknowledged before.
        events = {
            (entry.step_key, entry.dagster_event.event_type_value)
            for entry in instance.all_logs(run.run_id)
            if entry.dagster_event
        }
        for number in range(3):
            assert {
                (f"waits_for_pool[k{number}]", "STEP_START"),
                (f"waits_for_pool[k{number}]", "STEP_INPUT"),
            } <= events
        instance.report_run_failed(run)
        again = dg.ReexecutionOptions.from_failure(run.run_id, instance)
        result = dg.execute_job(
            streaming_jobs.reconstructable("waiting"),
            instance,
            run_config=streaming_jobs.config(marks / "none", "gate"),  # marking fails: so does each step
            reexecution_options=again,
        )
        assert not result.success
        assert set(ends_of_steps(instance, result.run_id)) == {
            f"waits_for_pool[k{number}]" for number in range(3)
        }


def test_an_error_in_the_loop_fails_the_run(home: Path, marks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug or a broken storage under the executor's loop ends the run with that error, not with a hang."""
    stock = incremental.IncrementalExecution.handle_event

    def breaks(execution: incremental.IncrementalExecution, event: Any) -> None:
        if event.step_key == "waits_for_pool[k0]":
            raise ZeroDivisionError("a bug in the loop")
        stock(execution, event)

    monkeypatch.setattr(incremental.IncrementalExecution, "handle_event", breaks)
    before = set(threading.enumerate())
    with dg.DagsterInstance.from_config(str(home)) as instance:
        result = dg.execute_job(
            streaming_jobs.reconstructable("waiting"),
            instance,
            run_config=streaming_jobs.config(marks, "gate"),
        )
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.FAILURE
        [failure] = [event for event in result.all_events if event.event_type_value == "PIPELINE_FAILURE"]
        assert "a bug in the loop" in str(failure.job_failure_data.error)
        assert all(
            ends == ["STEP_FAILURE"]
            for step, ends in ends_of_steps(instance, result.run_id).items()
            if step != "three_items"
        )
    assert {
        thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("step ")
    } == set()


def captured(instance: dg.DagsterInstance, run_id: str) -> str:
    """Return what the run has printed, from its compute logs."""
    [event] = [
        entry.dagster_event
        for entry in instance.all_logs(run_id)
        if entry.dagster_event and entry.dagster_event.event_type_value == "LOGS_CAPTURED"
    ]
    key = [run_id, "compute_logs", event.logs_captured_data.file_key]
    data = instance.compute_log_manager.get_log_data(key)
    return (data.stdout or b"").decode()


@pytest.mark.parametrize(
    "names", [["alone"], ["one", "two"]], ids=["one run", "two runs at once in a process"]
)
def test_prints_and_logs_go_to_their_own_run_and_step(home: Path, marks: Path, names: list[str]) -> None:
    """What steps print is in their run's compute log; each log line is in the log of its step, once.

    Three steps of a run, and with two runs the steps of both, log at the same time.
    """
    kinds = ["context", "python"]
    if len(names) == 1:
        (home / "dagster.yaml").write_text(
            yaml.safe_dump({**SETTINGS, "python_logs": {"managed_python_loggers": ["managed"]}})
        )
        kinds.append("managed")
    results: dict[str, str] = {}

    def in_their_ops(name: str) -> bool:
        return all((marks / f"talking {name} {n}").exists() for n in range(3))

    def run(name: str, instance: dg.DagsterInstance) -> None:
        job = streaming_jobs.reconstructable(name)
        results[name] = dg.execute_job(job, instance, run_config=streaming_jobs.config(marks)).run_id

    stdout = sys.stdout
    with dg.DagsterInstance.from_config(str(home)) as instance:
        threads = [threading.Thread(target=run, args=(name, instance), daemon=True) for name in names]
        for thread, name in zip(threads, names, strict=True):
            thread.start()
            # Dagster configures Python's logging when a run starts, which can deadlock with a thread
            # that logs at that moment, whatever the executor: wait until this run's steps are in their
            # ops, where they wait for those of the other run.
            wait_until(partial(in_their_ops, name), "the steps are in their ops")
        for thread in threads:
            thread.join(timeout=60)
            assert not thread.is_alive()
        for name in names:
            printed = captured(instance, results[name])
            assert sorted(line for line in printed.splitlines() if line.startswith("print of")) == [
                f"print of {name} {number}" for number in range(3)
            ]
            lines = [
                (entry.step_key, entry.user_message)
                for entry in instance.all_logs(results[name])
                if not entry.dagster_event
            ]
            for number in range(3):
                for kind in kinds:
                    said = [step for step, message in lines if message == f"{kind} log of {number}"]
                    assert said == [f"talks[k{number}]"], (kind, said)
        assert "store_event" not in vars(instance.event_log_storage)
    assert sys.stdout is stdout
