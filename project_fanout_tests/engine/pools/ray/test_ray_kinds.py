"""Coroutine, threaded and batch stages on Ray: who is charged, and how many start in a second."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from project_fanout.engine.pools.ray import RayPool
from project_fanout.engine.pools.ray import pool as ray_pool
from project_fanout.engine.rate import Rate
from project_fanout_tests.engine.pools.test_kinds import BAD, UNITS, call, calls_with, replies

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install '.[ray]'"
)


@pytest.fixture(scope="module")
def pool() -> Iterator[RayPool]:
    """Two workers that take four units each."""
    with RayPool(2, units_per_worker=UNITS) as pool:
        yield pool


FAULTS = [
    ("raise", None, "failed", "ValueError: bad unit"),
    ("exit", None, "crashed", ""),
    ("kill", None, "crashed", ""),
    ("hang", 1.0, "timed_out", "deadline of 1 s and has been killed"),
]
OF_COROUTINES = [("wait", 1.0, "timed_out", "deadline of 1 s and has been cancelled")]


@pytest.mark.parametrize(
    ("stage", "fault", "timeout_s", "status", "error"),
    [
        *(("coroutine", *fault) for fault in [*FAULTS, *OF_COROUTINES]),
        *(("thread", *fault) for fault in FAULTS),
        *(("batch", *fault) for fault in FAULTS),
    ],
)
def test_one_bad_unit_is_charged_alone(
    monkeypatch: pytest.MonkeyPatch,
    pool: RayPool,
    tmp_path: Path,
    stage: str,
    fault: str,
    timeout_s: float | None,
    status: str,
    error: str,
) -> None:
    """Whatever it does, the others that were handed to Ray with it succeed."""
    monkeypatch.setattr(ray_pool, "LONGEST_CANCEL_S", 0.5)
    found = replies(pool, calls_with(stage, fault, tmp_path / "started", timeout_s=timeout_s))
    assert {key: reply.status for key, reply in found.items()} == {
        f"u{n}": status if f"u{n}" == BAD else "succeeded" for n in range(UNITS)
    }
    assert error in str(found[BAD].error)


@pytest.mark.parametrize("stage", ["start", "start_coroutine"])
def test_a_rate_is_kept(pool: RayPool, stage: str) -> None:
    """No more than 40 units start in any second."""
    rate, is_async = Rate(40), stage == "start_coroutine"
    futures = [pool.submit(call(stage, key=f"u{n}", is_async=is_async), None, rate) for n in range(60)]
    starts = [json.loads(str(future.result(60).encoded)) for future in futures]
    assert max(sum(first <= each < first + 1 for each in starts) for first in starts) <= 40
