"""`RayPool`: the replies of the other pools, on a Ray cluster."""

import importlib.util
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from project_fanout.engine import InlinePool
from project_fanout.engine.errors import FanoutDefinitionError, PoolClosedError
from project_fanout.engine.pools.calls import UnitLog, UnitPool, UnitReply
from project_fanout.engine.pools.ray import RayPool
from project_fanout.engine.values import ValueStore
from project_fanout.orchestration import UnitPoolResource, build_fanout_asset
from project_fanout_tests.engine.pools.ray import ray_stages
from project_fanout_tests.engine.pools.support import lives, make_call
from project_fanout_tests.engine.values import value_stages
from project_fanout_tests.engine.values.samples import same
from project_fanout_tests.engine.values.ways import FEW, LISTS, check_ways, travel
from project_fanout_tests.waiting import wait_until

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install '.[ray]'"
)


@pytest.fixture(scope="module")
def pool() -> Iterator[RayPool]:
    """One local Ray with two CPUs for all tests: its start takes seconds."""
    handler = signal.getsignal(signal.SIGTERM)
    with RayPool(2) as pool:
        assert signal.getsignal(signal.SIGTERM) is handler, "Ray took SIGTERM, with which Dagster ends a run"
        yield pool


def run(pool: UnitPool, stage: str, payload: Any = None, **arguments: Any) -> UnitReply:
    """Return the reply without the time that it took."""
    return replace(
        pool.submit(make_call(stage, payload, **arguments)).result(60),
        seconds=0.0,
        cpu_seconds=None,
        peak_mb=None,
        worker="",
    )


@needs_ray
@pytest.mark.parametrize(
    ("stage", "payload"),
    [
        ("echo", {"text": "Zürich \N{SNOWMAN}", "sizes": [1, 2.5, None]}),
        ("fan_out", 3),
        ("raise_error", 7),
        ("raise_chained", 7),
        ("call_sys_exit", 3),
        ("return_odd", "generator"),
        ("return_odd", "lock"),
        ("fan_out_odd", None),
        ("no_such_function", None),
        ("no_such_module_x:f", None),
    ],
)
def test_a_unit_gets_the_reply_that_it_gets_inline(pool: RayPool, stage: str, payload: Any) -> None:
    """Result, error type, message and traceback do not depend on the pool."""
    assert run(pool, stage, payload) == run(InlinePool(), stage, payload)


@needs_ray
@FEW
@given(LISTS)
def test_values_travel_through_ray(pool: RayPool, tmp_path: Path, values: list[Any]) -> None:
    """With their types, between stages, through the ledger, and large ones by reference."""
    check_ways(values, pool, tmp_path, str(tmp_path / "ledger.db"))
    store = ValueStore(str(tmp_path / "values"))
    large = [np.arange(20_000.0), "x" * 2_000_000]
    ended = travel(large, [value_stages.echo], pool, store=store)
    assert all(same(value, outcome.result) for value, outcome in zip(large, ended, strict=True))
    assert len(list((tmp_path / "values").iterdir())) == 2


@needs_ray
def test_units_run_in_processes_without_dagster(pool: RayPool) -> None:
    """A worker is another process, and pays neither time nor memory for Dagster."""
    assert json.loads(run(pool, "process_id").encoded or "") != os.getpid()
    assert "dagster" not in json.loads(run(pool, "loaded_modules").encoded or "")


@needs_ray
def test_a_unit_that_ends_its_worker_is_crashed_and_never_run_again(pool: RayPool, tmp_path: Path) -> None:
    """Ray does not try a crashed unit again on its own, and the next unit gets another worker."""
    marks = tmp_path / "marks"
    reply = pool.submit(make_call("append_line_and_exit", str(marks))).result(60)
    assert reply.status == "crashed"
    assert reply.error is not None
    assert (reply.error.type, "WorkerCrashedError" in reply.error.message) == ("WorkerCrashed", True)
    assert run(pool, "echo", 1).status == "succeeded"
    assert marks.read_text() == "u1\n"


@needs_ray
@pytest.mark.parametrize("stage", ["hang", "hang_deaf"])
def test_a_unit_is_killed_at_its_deadline(pool: RayPool, tmp_path: Path, stage: str) -> None:
    """A hung unit, even one in native code that ignores signals, is timed_out and its process is gone."""
    target = tmp_path / "pid"
    future = pool.submit(make_call(stage, str(target), timeout_s=0.5))
    beside = pool.submit(make_call("echo", 1, timeout_s=60))
    reply = future.result(60)
    assert (reply.status, str(reply.error)) == (
        "timed_out",
        "TimeoutError: it was still running at its deadline of 0.5 s and has been killed",
    )
    assert reply.seconds >= 0.5
    assert beside.result(60).status == "succeeded"
    if stage == "hang":
        pid = int(target.read_text())
        wait_until(lambda: not lives(pid), "the hung worker is gone")


@needs_ray
def test_log_records_arrive_before_the_reply(pool: RayPool) -> None:
    """What a unit logs reaches the run's log with its keys, and a callback that fails harms nothing."""
    logs: list[UnitLog] = []

    def keep_and_fail(log: UnitLog) -> None:
        logs.append(log)
        raise RuntimeError("log is full")

    future = pool.submit(make_call("write_logs", key="u7"), keep_and_fail)
    assert future.result(60).status == "succeeded"
    assert [(log.unit_key, log.level, log.message.partition("\n")[0]) for log in logs] == [
        ("u7", logging.INFO, "working on u7"),
        ("u7", logging.ERROR, "went wrong"),
    ]


@needs_ray
def test_a_budget_is_kept(pool: RayPool, tmp_path: Path) -> None:
    """Of an asset with `max_workers: 1` one unit runs at a time, although the pool has room for two."""
    calls = [
        make_call("track_level", str(tmp_path), key=f"u{index}", budget="a", max_in_flight=1)
        for index in range(8)
    ]
    futures = [pool.submit(call) for call in calls]
    assert {json.loads(future.result(60).encoded or "") for future in futures} == {1}


@needs_ray
def test_a_cancelled_call_is_not_started(pool: RayPool, tmp_path: Path) -> None:
    """A call that is taken back while it waits costs nothing."""
    target = tmp_path / "pids"
    first = pool.submit(make_call("echo", 1, budget="b", max_in_flight=1))
    second = pool.submit(make_call("append_line", str(target), budget="b", max_in_flight=1))
    third = pool.submit(make_call("echo", 3, budget="b", max_in_flight=1))
    cancelled = second.cancel()
    assert first.result(60).status == third.result(60).status == "succeeded"
    assert target.exists() is not cancelled


@needs_ray
def test_pools_of_one_process_share_its_ray(pool: RayPool) -> None:
    """Two runs in one process share Ray's one connection; the end of one does not end the other's."""
    with RayPool(1) as other:
        running = other.submit(make_call("hang"))
        wait_until(running.running, "the unit is handed to Ray")
        waiting = other.submit(make_call("echo"))
    with pytest.raises(CancelledError):
        running.result(0)
    assert waiting.cancelled()
    with pytest.raises(PoolClosedError, match=r"'u1' .* has been closed"):
        other.submit(make_call("echo"))
    with pytest.raises(FanoutDefinitionError, match="connected to 'local' by another pool"):
        RayPool(1, address="ray://127.0.0.1:1")
    assert run(pool, "echo", 1).status == "succeeded"


@needs_ray
def test_an_asset_has_the_same_table_on_ray(pool: RayPool) -> None:
    """`UnitPoolResource(kind="ray")` changes where the units run and nothing else."""
    asset = build_fanout_asset("halves", records=ray_stages.some_records, stages=[ray_stages.halve])
    frames = []
    for kind in ("process", "ray"):
        result = dg.materialize_to_memory(
            [asset],
            resources={"unit_pool": UnitPoolResource(kind=kind, max_workers=2)},
            run_config={"ops": {"halves": {"config": {"policy": {"max_failed_ratio": 0.5}}}}},
        )
        frames.append(result.output_for_node("halves").drop(columns="seconds"))
    pd.testing.assert_frame_equal(*frames)
    assert frames[0]["status"].value_counts().to_dict() == {"succeeded": 4, "failed": 2}


@needs_ray
def test_close_leaves_no_process(pool: RayPool, tmp_path: Path) -> None:
    """After close, Ray's daemons and the worker of a unit that hangs are gone.

    The last test of the pool that the others have used: to start a Ray of its own would take seconds.
    """
    import ray

    target = tmp_path / "pid"
    pool.submit(make_call("hang", str(target)))
    wait_until(lambda: target.exists() and target.read_text(), "it runs", 60)
    session = ray._private.worker._global_node.get_session_dir_path()
    pool.close()
    assert not ray.is_initialized()
    assert not lives(int(target.read_text()))
    wait_until(lambda: not processes_of(session), f"no process of {session} is left")


def processes_of(session: str) -> list[str]:
    """Return the command lines that name the folder of a Ray session."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes()
        except OSError:
            continue
        if session.encode() in command and lives(int(file.parent.name)):
            found.append(command.decode(errors="replace"))
    return found


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Ray is not installed the error says what to install."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(FanoutDefinitionError, match=r"pip install 'project_fanout\[ray\]'"):
        RayPool(1)


@pytest.mark.parametrize("max_workers", [0, -1, True, "2"])
def test_max_workers_is_checked(max_workers: Any) -> None:
    """A wrong number of workers is refused with what is accepted."""
    with pytest.raises(FanoutDefinitionError, match=r"max_workers is .*, accepted: int \| None, 1 or more"):
        RayPool(max_workers)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"kind": "ray", "memory_limit_mb": 100}, "memory_limit_mb"),
        ({"kind": "process", "ray_address": "auto"}, "ray_address"),
    ],
)
def test_a_setting_of_another_kind_of_pool_is_refused(settings: dict[str, Any], field: str) -> None:
    """A limit that would not be kept is not passed over in silence."""
    with pytest.raises(FanoutDefinitionError, match=f"{field} is .*, but kind is"):
        UnitPoolResource(**settings).pool  # noqa: B018  # made when it is first asked for
