"""How a pool ends, and what is left of it: nothing."""

import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from project_fanout.engine import ProcessPool
from project_fanout.engine.errors import PoolClosedError
from project_fanout_tests.engine.pools.support import NothingLeft, lives, make_call
from project_fanout_tests.waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[4]


def test_close_ends_everything_and_may_be_called_twice(tmp_path: Path) -> None:
    """Closing a pool kills what runs, cancels what waits, and leaves no process, thread or file."""
    before = NothingLeft()
    pids_file = tmp_path / "pids"
    pool = ProcessPool(2)
    running = pool.submit(make_call("hang_with_children", str(pids_file)))
    waiting = [pool.submit(make_call("hang")) for _ in range(5)]
    wait_until(pids_file.exists, "the unit runs")
    pool.close()
    pool.close()
    for future in [running, *waiting]:
        with pytest.raises(CancelledError):
            future.result(0)
    before.check()
    wait_until(lambda: not any(lives(int(pid)) for pid in pids_file.read_text().split()), "all are dead")
    with pytest.raises(PoolClosedError, match=r"Unit 'u1' .* has been closed.* make a new pool"):
        pool.submit(make_call("echo"))


def test_close_ends_calls_that_were_taken_back_from_a_worker() -> None:
    """A call that waited behind a hung unit and was taken back ends with the pool, like any other."""
    with ProcessPool(2) as pool:
        for future in [pool.submit(make_call("echo")) for _ in range(20)]:
            future.result(20)
        futures = [pool.submit(make_call("hang")) for _ in range(40)]
        wait_until(lambda: len(pool._backlog) == 38, "all but two are back")
        assert sum(future.running() for future in futures) > 2
    for future in futures:
        with pytest.raises(CancelledError):
            future.result(0)


def test_a_pool_that_is_closed_by_its_own_callback_closes() -> None:
    """Closing from a callback of a future, in the pool's own thread, does not wait for itself."""
    before = NothingLeft()
    pool = ProcessPool(1)
    closed = threading.Event()
    pool.submit(make_call("echo")).add_done_callback(lambda _: (pool.close(), closed.set()))
    assert closed.wait(20)
    wait_until(lambda: not pool.pids, "the worker is gone")
    wait_until(lambda: not before.new_threads(), "its thread is gone")
    before.check()


def test_an_unused_pool_starts_nothing() -> None:
    """A pool costs neither a process nor a thread until there is work."""
    before = NothingLeft()
    with ProcessPool(4) as pool:
        assert pool.workers == 4
        before.check()


def test_a_worker_can_be_ended_where_the_run_ignores_sigterm() -> None:
    """Under `nohup` or a script's `dagster dev &`, SIGTERM still ends a worker and what a unit starts."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with ProcessPool(1) as pool:
            reply = pool.submit(make_call("kill_self", int(signal.SIGTERM))).result(20)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (reply.status, reply.error is not None and "SIGTERM" in reply.error.message) == ("crashed", True)


PARENT = """
    import pathlib, sys, time
    from project_fanout.engine import ProcessPool
    from project_fanout_tests.engine.pools.support import make_call

    pool = ProcessPool(2)
    for name in ("one", "two"):
        pool.submit(make_call("hang_with_children", f"{sys.argv[1]}/{name}"))
    while len(list(pathlib.Path(sys.argv[1]).glob("???"))) < 2:
        time.sleep(0.01)
    print(*pool.pids, pool._reaper._process.pid, flush=True)
    if sys.argv[2] == "wait":
        time.sleep(600)
"""


@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM", "exit"])
def test_nothing_survives_the_process_of_the_pool(tmp_path: Path, end: str) -> None:
    """However the run's process ends, no worker, no child of one, and no helper of the pool outlives it."""
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT), str(tmp_path), "wait" if end != "exit" else "end"],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        text=True,
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    pids += [int(pid) for name in ("one", "two") for pid in (tmp_path / name).read_text().split()]
    assert len(set(pids)) == 7
    if end != "exit":
        parent.send_signal(signal.Signals[end])
    parent.wait(20)
    parent.stdout.close()
    wait_until(lambda: not any(map(lives, pids)), f"{pids} are dead", limit_s=5)


def test_a_reaper_that_is_killed_is_replaced() -> None:
    """Killing the reaper does not leave later workers without one."""
    before = NothingLeft()
    with ProcessPool(1) as pool:
        assert pool.submit(make_call("echo")).result(20).status == "succeeded"
        reaper = pool._reaper._process
        assert reaper is not None
        reaper.kill()
        reaper.wait(20)
        assert pool.submit(make_call("exit_process", 1)).result(20).status == "crashed"
        assert pool.submit(make_call("echo")).result(20).status == "succeeded"
        assert pool._reaper._process is not reaper
        assert pool._reaper._process.poll() is None
    before.check()


def test_a_pool_refuses_work_in_a_forked_process() -> None:
    """A forked copy of the process is told to make its own pool instead of waiting for ever."""
    script = """
        import os
        from project_fanout.engine import ProcessPool
        from project_fanout.engine.errors import PoolClosedError
        from project_fanout_tests.engine.pools.support import make_call

        with ProcessPool(1) as pool:
            pool.submit(make_call("echo")).result()
            child = os.fork()
            if child == 0:
                pool.close()
                try:
                    pool.submit(make_call("echo"))
                except PoolClosedError as error:
                    print(error, flush=True)
                os._exit(0)
            os.waitpid(child, 0)
            print(pool.submit(make_call("echo")).result().status)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "forked from it: make a pool in the process that uses it" in done.stdout, done.stderr
    assert done.stdout.endswith("succeeded\n")
