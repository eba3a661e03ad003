"""What a worker keeps for its stages: set up once, closed at its end, and shared where it is large."""

import json
import os
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from project_fanout.engine import InlinePool, ProcessPool
from project_fanout.engine.pools.calls import UnitCall, UnitReply
from project_fanout.engine.pools.supplied import SharedFile, Supplied
from project_fanout_tests.engine.pools import kind_stages
from project_fanout_tests.engine.pools.support import make_call
from project_fanout_tests.engine.pools.test_kinds import KINDS, replies
from project_fanout_tests.waiting import wait_until


def call(stage: str, set_up: str, payload: Any = None, *, params: Any = None, **settings: Any) -> UnitCall:
    """Return a call of a stage that takes what *set_up*, of the same name, makes with *params*."""
    how = getattr(kind_stages, set_up).with_params(params or {})
    return make_call(f"{KINDS}:{stage}", payload, supplied=Supplied((), ((set_up, how),)), **settings)


def result(reply: UnitReply) -> Any:
    """Return what the unit returned, or fail with its error."""
    assert isinstance(reply.encoded, str), reply.error
    return json.loads(reply.encoded)


def lines(folder: Path, name: str = "model") -> list[str]:
    """Return what has been made and closed."""
    return (folder / name).read_text().splitlines()


def test_each_worker_makes_it_once_and_closes_it_at_its_end(tmp_path: Path) -> None:
    """Two workers, forty units: two models, both closed with the pool."""
    params = {"path": "m.bin", "folder": str(tmp_path)}
    with ProcessPool(2) as pool:
        calls = [call("predict", "model", key=f"u{n}", params=params) for n in range(40)]
        pids = {result(reply)[2] for reply in replies(pool, calls).values()}
        assert [line.split()[:2] for line in lines(tmp_path)] == [["made", "m.bin"]] * len(pids)
    assert sorted(lines(tmp_path)) == sorted(
        f"{what} m.bin {pid}" for pid in pids for what in ("made", "closed")
    )


def test_a_worker_that_does_not_hear_the_signal_closes_it_all_the_same(tmp_path: Path) -> None:
    """A signal does not wake a thread that begins to wait in the moment in which it comes."""
    with ProcessPool(1) as pool:
        assert (
            pool.submit(call("turn_deaf", "model", params={"folder": str(tmp_path)})).result(60).error is None
        )
    assert [line.split()[0] for line in lines(tmp_path)] == ["made", "closed"]


def test_other_params_make_another_one(tmp_path: Path) -> None:
    """Two stages with the same settings share it; with others each has its own."""
    with ProcessPool(1) as pool:
        calls = [
            call("predict", "model", key=path, params={"path": path, "folder": str(tmp_path)})
            for path in ("a", "b", "a")
        ]
        paths = [result(reply)[0] for reply in [pool.submit(each).result(60) for each in calls]]
    assert paths == ["a", "b", "a"]
    assert [line.split()[:2] for line in lines(tmp_path)] == [
        ["made", "a"], ["made", "b"], ["closed", "b"], ["closed", "a"],
    ]  # fmt: skip


def test_a_cancelled_run_closes_it_in_the_middle_of_a_unit(tmp_path: Path) -> None:
    """A temporary folder or a licence is given back also if the run is cancelled."""
    with ProcessPool(1) as pool:
        pool.submit(call("predict", "model", "wait", params={"folder": str(tmp_path)}))
        wait_until((tmp_path / "model").exists, "it has been made")
        wait_until(lambda: bool(pool.pids), "a worker")
    assert [line.split()[0] for line in lines(tmp_path)] == ["made", "closed"]


def test_a_recycled_worker_closes_it_and_no_unit_loses_an_attempt(tmp_path: Path) -> None:
    """Every three units a new worker with a model of its own."""
    with ProcessPool(1, recycle_after_units=3) as pool:
        calls = [call("predict", "model", key=f"u{n}", params={"folder": str(tmp_path)}) for n in range(9)]
        found = [pool.submit(each).result(60) for each in calls]
    assert [result(reply)[2] for reply in found] == [pid for pid in dict.fromkeys(
        result(reply)[2] for reply in found) for _ in range(3)]  # fmt: skip
    assert [line.split()[0] for line in lines(tmp_path)] == ["made", "closed"] * 3


def test_an_asynchronous_one_is_made_and_closed_on_the_event_loop(tmp_path: Path) -> None:
    """Many coroutines that come first together wait for one."""
    with ProcessPool(1) as pool:
        calls = [
            call("fetch", "client", key=f"u{n}", params={"folder": str(tmp_path)}, is_async=True)
            for n in range(30)
        ]
        assert {result(reply) for reply in replies(pool, calls).values()} == {True}
    assert [line.split()[0] for line in lines(tmp_path, "client")] == ["made", "closed"]


def test_inline_it_is_made_once_and_closed_with_the_pool(tmp_path: Path) -> None:
    """A unit test sees what a run sees."""
    with InlinePool() as pool:
        for number in range(3):
            each = call("predict", "model", key=f"u{number}", params={"folder": str(tmp_path)})
            assert result(pool.submit(each).result())[2] == os.getpid()
        each = call("fetch", "client", params={"folder": str(tmp_path)}, is_async=True)
        assert result(pool.submit(each).result())
    for name in ("model", "client"):
        assert [line.split()[0] for line in lines(tmp_path, name)] == ["made", "closed"]


@pytest.mark.parametrize("pool", [InlinePool, ProcessPool])
def test_an_error_in_it_says_so(pool: Any) -> None:
    """It is the set-up's, with its own type, message and place, and is tried again with the next unit."""
    with pool() as units:
        for number in range(2):
            reply = units.submit(call("use_broken", "broken", key=f"u{number}")).result(60)
            assert (reply.status, reply.final) == ("failed", False)
            assert str(reply.error) == (
                "SetupError: per_worker broken could not be set up: FileNotFoundError: no weights.bin"
            )
            assert 'raise FileNotFoundError("no weights.bin")' in reply.error.traceback


def test_one_that_takes_too_long_is_given_up() -> None:
    """Its time is not the unit's: a deadline of 0.1 s has nothing to do with it, `setup_timeout_s` has."""
    with ProcessPool(1, setup_timeout_s=0.5) as pool:
        reply = pool.submit(call("use_broken", "slow", timeout_s=0.1)).result(60)
        assert reply.status == "failed"
        assert "setting up what it needs, took longer than 0.5 s" in str(reply.error)
        assert pool.submit(make_call("process_id")).result(60).status == "succeeded"


def test_a_large_value_is_one_file_that_all_workers_map(tmp_path: Path) -> None:
    """Arrays and frames are in memory once for all workers, and none can change them."""
    array, table = np.arange(2_000_000), pd.DataFrame({"n": np.arange(1_000_000)})
    files = {"array": SharedFile(array), "table": SharedFile(table)}
    supplied = Supplied(tuple((name, file.value) for name, file in files.items()))
    calls = [make_call(f"{KINDS}:shared_address", key=f"u{n}", supplied=supplied) for n in range(8)]
    assert all(len(pickle.dumps(each)) < 2000 for each in calls)
    with ProcessPool(2) as pool:
        for _, writeable, seventh, total in map(result, replies(pool, calls).values()):
            assert (writeable, seventh, total) == (False, 7, 499_999_500_000)
    for file in files.values():
        file.close()


def test_a_leaking_stage_gets_a_new_worker_before_it_is_too_large() -> None:
    """Each unit leaves 50 MB behind: all succeed with their first attempt, and the worker stays below its bound."""
    with ProcessPool(1, recycle_above_mb=300) as pool:
        found = replies(pool, [make_call(f"{KINDS}:leak", key=f"u{n}") for n in range(30)])
    kept = [result(reply) for reply in found.values()]
    assert max(kept) <= 7
    assert max(reply.peak_mb or 0 for reply in found.values()) < 420


def test_what_an_attempt_took_is_its_own() -> None:
    """CPU time and peak memory, of a unit that has its worker for itself."""
    with ProcessPool(1) as pool:
        large = pool.submit(make_call("want_memory", 200_000_000)).result(60)
        small = pool.submit(make_call("process_id")).result(60)
        busy = pool.submit(make_call(f"{KINDS}:burn", 0.3)).result(60)
    assert (large.peak_mb or 0) > 200 > (small.peak_mb or 0) > 5
    assert 0.3 <= (busy.cpu_seconds or 0) < 0.6
    assert (small.cpu_seconds or 0) < 0.1


def test_each_worker_knows_its_number_its_threads_and_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the environment's own word on threads wins."""
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    calls = [make_call(f"{KINDS}:environment", key=f"u{n}") for n in range(6)]
    with ProcessPool(3, gpus=["GPU-a", "GPU-b"]) as pool:
        seen = {tuple(result(reply).values()) for reply in replies(pool, calls).values()}
    assert seen == {("0", "1", "GPU-a"), ("1", "1", "GPU-b")}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with ProcessPool(1) as pool:
        assert result(pool.submit(calls[0]).result(60)) == {
            "FANOUT_WORKER": "0", "OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": None,
        }  # fmt: skip
    monkeypatch.delenv("OMP_NUM_THREADS")
    with ProcessPool(1, threads_per_unit=None) as pool:
        assert result(pool.submit(calls[0]).result(60))["OMP_NUM_THREADS"] is None


def test_closing_a_pool_with_nothing_set_up_waits_for_nothing() -> None:
    """A hanging unit without set-ups is killed at once, as ever."""
    with ProcessPool(1) as pool:
        pool.submit(make_call("hang"))
        wait_until(lambda: bool(pool.pids), "a worker")
        began = time.monotonic()
    assert time.monotonic() - began < 4
