import pickle
import time
from concurrent.futures import Future
from typing import Any

from project_fanout.engine.backlog import Job
from project_fanout.engine.calls import UnitCall, UnitReply
from project_fanout.engine.seat import Seat
from project_fanout.engine.worker_process import Guard, WorkerProcess

SETTINGS = {"max_result_bytes": 1 << 20, "log_level": 20, "memory_limit_mb": None}


def a_call(unit_key: str) -> UnitCall:
    stage = "project_fanout_tests.engine.pool_stages:echo"
    return UnitCall(stage, "record", unit_key, '{"number": 1}', pickle.dumps({}), timeout_s=20)


def test_a_worker_says_of_a_call_that_was_taken_back_that_it_does_not_run_it() -> None:
    """A call that is taken back while its worker reaches for it is not run, and is not lost either."""
    guard = Guard()
    worker = WorkerProcess(guard, SETTINGS)
    try:
        number = worker.next_number()
        assert worker.board.recall(number)
        assert worker.hand([(number, a_call("u"), False)], 10)
        give_up_at = time.monotonic() + 30
        message = None
        while message is None and time.monotonic() < give_up_at:
            message = worker.receive(1)
        assert message == (number, None)
        assert not worker.board.recall(number), "too late: the worker has seen the call"
    finally:
        worker.kill()
        worker.close()
        guard.close()


def test_a_call_that_its_worker_declines_goes_back_to_the_pool() -> None:
    """A call that pool and worker have left to each other in the same moment runs with the next worker."""

    class Desk:
        closed = False

        def __init__(self, job: Job) -> None:
            self.waiting: list[Job] = [job]
            self.returned: list[Job] = []

        def next_job(self) -> Job | None:
            return self.waiting.pop() if self.waiting else None

        def next_jobs_behind(self, last: Job, count: int, max_bytes: int) -> list[Job]:
            return []

        def put_back(self, job: Job, *, counted: bool) -> None:
            job.number = 0
            self.returned.append(job)

        def finish(self, job: Job, following: Job | None) -> None:
            pass

    class DecliningWorker:
        """Declines its call, as a worker does that finds it taken back."""

        def __init__(self, worker: WorkerProcess) -> None:
            self._worker = worker

        def receive(self, timeout_s: float) -> Any:
            return (1, None)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._worker, name)

    guard = Guard()
    future: Future[UnitReply] = Future()
    job = Job(a_call("u"), future)
    desk = Desk(job)
    seat = Seat(desk, guard, SETTINGS)
    seat._worker = DecliningWorker(WorkerProcess(guard, SETTINGS))  # type: ignore[assignment]
    try:
        seat.run()
    finally:
        guard.close()
    assert desk.returned == [job]
    assert not future.done()
