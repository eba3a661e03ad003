"""Who may run a call: the worker that holds it, or another one after it was taken back."""

import os
import random
import threading
import time

import pytest

from project_fanout.engine.pools.process.start_marks import MOST_CALLS, StartMarks


def test_a_call_is_never_both_run_and_taken_back() -> None:
    """Whenever a call is taken back in time, its worker does not run it, however close the race."""
    fd = StartMarks.create_file()
    pool_side, worker_side = StartMarks(fd), StartMarks(fd)
    os.close(fd)
    ran: dict[int, bool] = {}
    meet = threading.Barrier(2)
    calls = range(1, 3001)

    def work() -> None:
        for number in calls:
            meet.wait(20)
            ran[number] = worker_side.start(number, 0)
            meet.wait(20)

    worker = threading.Thread(target=work)
    worker.start()
    taken_back: dict[int, bool] = {}
    pause = random.Random(1)
    for number in calls:
        meet.wait(20)
        for _ in range(pause.randrange(30)):
            pass
        taken_back[number] = pool_side.recall(number)
        meet.wait(20)
    worker.join(20)
    assert not [number for number in calls if ran[number] and taken_back[number]]
    for marks in (pool_side, worker_side):
        marks.close()


def test_a_call_that_is_not_taken_back_is_run() -> None:
    """Taking one call back leaves those before and after it alone, also when its slot is used again."""
    fd = StartMarks.create_file()
    marks = StartMarks(fd)
    os.close(fd)
    assert marks.recall(3)
    calls = range(1, 2 * MOST_CALLS)
    assert [number for number in calls if not marks.start(number, 0)] == [3]
    assert not marks.recall(calls[-1])
    marks.close()


def test_a_call_is_never_taken_for_one_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever the pool looks, between any two writes of the worker: the time of a call not yet loaded lies ahead."""
    fd = StartMarks.create_file()
    pool_side, worker_side = StartMarks(fd), StartMarks(fd)
    os.close(fd)
    looks: list[bool] = []

    class Watched:
        def __getitem__(self, place: int) -> float:
            return pool_side._slots[place]

        def __setitem__(self, place: int, value: float) -> None:
            pool_side._slots[place] = value
            if pool_side.started(1):
                looks.append(pool_side.counts_from(1) > time.monotonic() or pool_side.loaded(1))

    with monkeypatch.context() as patch:
        patch.setattr(worker_side, "_slots", Watched())
        worker_side.start(1, 1000)
        worker_side.count_from_now(1)
    assert len(looks) >= 3
    assert all(looks)
    for marks in (pool_side, worker_side):
        marks.close()
