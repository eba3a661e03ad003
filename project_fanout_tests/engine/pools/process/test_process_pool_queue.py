"""In which order a pool starts its calls, and what becomes of those behind one that goes wrong."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from project_fanout.engine import ProcessPool
from project_fanout.engine.pools.process.start_marks import StartMarks
from project_fanout_tests.engine.pools.support import make_call
from project_fanout_tests.waiting import wait_until


def test_calls_ahead_of_a_killed_worker_run_exactly_once(tmp_path: Path) -> None:
    """Workers killed in full flight lose one unit each at most, and no unit runs twice."""
    started = tmp_path / "started"
    with ProcessPool(2) as pool:
        futures = [
            pool.submit(make_call("append_and_burn", str(started), key=f"k{index}")) for index in range(600)
        ]
        kills = 0
        for threshold in (50, 150, 250, 350):
            wait_until(
                lambda n=threshold: sum(future.done() for future in futures) >= n, f"{threshold} are done"
            )
            for pid in pool.pids:
                os.kill(pid, signal.SIGKILL)
                kills += 1
        statuses = Counter(future.result(20).status for future in futures)
    assert statuses["succeeded"] + statuses["crashed"] == 600
    assert 1 <= statuses["crashed"] <= kills
    runs = Counter(started.read_text().split())
    assert max(runs.values()) == 1
    assert {
        f"k{index}" for index, future in enumerate(futures) if future.result().status == "succeeded"
    } <= set(runs)


def test_a_hung_unit_does_not_hold_up_the_calls_behind_it(tmp_path: Path) -> None:
    """Short units that were already handed to a worker are taken back when one before them hangs."""
    started = tmp_path / "started"
    keys = [f"k{index}{'hang' if index in (40, 80) else ''}" for index in range(120)]
    with ProcessPool(3) as pool:
        futures = {
            key: pool.submit(make_call("append_and_maybe_hang", str(started), key=key)) for key in keys
        }
        assert {future.result(20).status for key, future in futures.items() if "hang" not in key} == {
            "succeeded"
        }
    assert Counter(started.read_text().split()) == Counter(keys)


def test_a_call_that_both_sides_claim_is_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call taken back in the moment in which its worker reaches for it runs, and only once."""
    recalled = []

    def recall_too_late(marks: StartMarks, number: int) -> bool:
        recalled.append(recall(marks, number))
        return False

    recall = StartMarks.recall
    monkeypatch.setattr(StartMarks, "recall", recall_too_late)
    started = tmp_path / "started"
    keys = [f"k{index}{'pause' if index in (40, 80) else ''}" for index in range(120)]
    with ProcessPool(2) as pool:
        futures = [pool.submit(make_call("append_and_maybe_hang", str(started), key=key)) for key in keys]
        assert {future.result(20).status for future in futures} == {"succeeded"}
    assert any(recalled)
    assert Counter(started.read_text().split()) == Counter(keys)


def test_deadlines_of_short_units_hit_only_those_that_hang(tmp_path: Path) -> None:
    """A deadline kills one unit; those handed to the same worker ahead of time run elsewhere, once."""
    started = tmp_path / "started"
    keys = [f"k{index}{'hang' if index % 10 == 5 else ''}" for index in range(60)]
    with ProcessPool(2) as pool:
        futures = {
            key: pool.submit(make_call("append_and_maybe_hang", str(started), key=key, timeout_s=0.1))
            for key in keys
        }
        statuses = {key: future.result(30).status for key, future in futures.items()}
    assert statuses == {key: "timed_out" if "hang" in key else "succeeded" for key in keys}
    assert Counter(started.read_text().split()) == Counter(keys)


def test_calls_start_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    """First come, first served."""
    started = tmp_path / "started"
    keys = [f"k{index}" for index in range(50)]
    with ProcessPool(1) as pool:
        futures = [pool.submit(make_call("append_line", str(started), key=key)) for key in keys]
        assert {future.result(20).status for future in futures} == {"succeeded"}
    assert started.read_text().split() == keys


def test_a_budget_is_kept_and_holds_up_no_other(tmp_path: Path) -> None:
    """An asset with max_workers 1 never has two units in work, and does not block another asset's."""
    with ProcessPool(3) as pool:
        first = pool.submit(make_call("hang", budget="narrow", max_in_flight=1))
        narrow = [pool.submit(make_call("echo", budget="narrow", max_in_flight=1)) for _ in range(20)]
        folder = tmp_path / "wide"
        folder.mkdir()
        wide = [
            pool.submit(make_call("track_level", str(folder), key=f"w{n}", budget="wide", max_in_flight=2))
            for n in range(40)
        ]
        levels = {int(future.result(20).encoded or "") for future in wide}
        assert levels <= {1, 2}
        assert not any(future.done() for future in [first, *narrow])
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)
        assert first.result(20).status == "crashed"
        assert {future.result(20).status for future in narrow} == {"succeeded"}


def test_a_cancelled_call_is_not_started(tmp_path: Path) -> None:
    """A call whose future is cancelled while it waits never runs."""
    started = tmp_path / "started"
    with ProcessPool(1) as pool:
        first = pool.submit(make_call("hang", str(tmp_path / "pid"), timeout_s=0.5))
        wait_until((tmp_path / "pid").exists, "the first unit runs")
        cancelled = pool.submit(make_call("append_line", str(started), key="cancelled"))
        last = pool.submit(make_call("append_line", str(started), key="last"))
        assert cancelled.cancel()
        assert (first.result(20).status, last.result(20).status) == ("timed_out", "succeeded")
    assert started.read_text() == "last\n"
