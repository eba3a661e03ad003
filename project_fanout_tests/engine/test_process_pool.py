"""What a unit may do to its worker, and what the pool makes of it."""

import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from project_fanout.engine import ProcessPool
from project_fanout.engine.board import Board
from project_fanout.engine.calls import UnitLog
from project_fanout.engine.errors import FanoutDefinitionError, PoolClosedError
from project_fanout_tests.engine.pool_support import NothingLeft, lives, make_call
from project_fanout_tests.waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPool]:
    """One pool for the whole table: each row must leave it working for the next."""
    before = NothingLeft()
    with ProcessPool(2, max_result_bytes=70_000_000) as pool:
        yield pool
    before.check()


@pytest.fixture(autouse=True)
def pool_still_works(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test of the shared pool did to it, both of its places work afterwards."""
    yield
    if "pool" in request.fixturenames:
        pool = request.getfixturevalue("pool")
        futures = [pool.submit(make_call("echo", index)) for index in range(4)]
        assert [json.loads(future.result(20).result_json)[1] for future in futures] == [0, 1, 2, 3]


CRASH_TABLE = [
    # phase, stage, payload, deadline, status, type of the error, what its message says
    ("name", "no_colon_here:", None, None, "failed", "ValueError", "package.module:function"),
    ("name", "os:sep", None, None, "failed", "TypeError", "'os:sep' is a str"),
    ("import", "no_such_module_x:f", None, None, "failed", "ModuleNotFoundError", "no_such_module_x"),
    (
        "import",
        "project_fanout_tests.engine.broken_stages:f",
        None,
        None,
        "failed",
        "ImportError",
        "this module is broken on purpose",
    ),
    ("import", "no_such_function", None, None, "failed", "AttributeError", "no_such_function"),
    ("run", "raise_error", 7, None, "failed", "ValueError", "bad payload 7"),
    ("run", "raise_chained", 7, None, "failed", "pool_stages.NeedsKeyword", "code 7"),
    (
        "run",
        "raise_unspeakable",
        None,
        None,
        "failed",
        "pool_stages.Unspeakable",
        "str() raised RuntimeError",
    ),
    ("run", "raise_half_a_surrogate", None, None, "failed", "ValueError", "half \\ud800 of a pair"),
    ("run", "call_sys_exit", 3, None, "failed", "SystemExit", "3"),
    ("run", "raise_interrupt", None, None, "failed", "KeyboardInterrupt", ""),
    ("run", "recurse", None, None, "failed", "RecursionError", "maximum recursion depth"),
    ("result", "return_odd", "nan", None, "failed", "TypeError", "result['sizes'][1] is nan"),
    ("result", "return_odd", "set", None, "failed", "TypeError", "result['tags'] is a set"),
    ("result", "return_odd", "bytes", None, "failed", "TypeError", "result is a bytes"),
    (
        "result",
        "fan_out_odd",
        None,
        None,
        "failed",
        "TypeError",
        "payload of unit 'odd one'['when'] is a set",
    ),
    ("result", "return_large", 70_000_000, None, "failed", "ValueError", "70,000,002 bytes"),
    ("death", "exit_process", 0, None, "crashed", "WorkerCrashed", "exit code 0"),
    ("death", "exit_process", 3, None, "crashed", "WorkerCrashed", "exit code 3"),
    ("death", "segfault", None, None, "crashed", "WorkerCrashed", "SIGSEGV: native code"),
    ("death", "kill_self", int(signal.SIGKILL), None, "crashed", "WorkerCrashed", "memory ran out"),
    ("death", "kill_self", int(signal.SIGTERM), None, "crashed", "WorkerCrashed", "SIGTERM"),
    ("death", "kill_self_while_sending", None, None, "crashed", "WorkerCrashed", "SIGKILL"),
    ("deadline", "hang", None, 0.2, "timed_out", "TimeoutError", "deadline of 0.2 s"),
    ("deadline", "hang_deaf", None, 0.2, "timed_out", "TimeoutError", "deadline of 0.2 s"),
    ("deadline", "stop_self", None, 0.2, "timed_out", "TimeoutError", "deadline of 0.2 s"),
    ("deadline", "flood_logs", None, 0.2, "timed_out", "TimeoutError", "deadline of 0.2 s"),
]


@pytest.mark.parametrize(
    ("stage", "payload", "timeout_s", "status", "kind", "message"),
    [row[1:] for row in CRASH_TABLE],
    ids=[f"{row[0]}-{row[1].rpartition('.')[2]}-{row[2]}" for row in CRASH_TABLE],
)
def test_a_unit_that_goes_wrong_ends_alone(
    pool: ProcessPool,
    stage: str,
    payload: object,
    timeout_s: float | None,
    status: str,
    kind: str,
    message: str,
) -> None:
    """Whatever a unit does, it gets a reply that says what happened, and its siblings get theirs."""
    call = make_call(stage, payload, timeout_s=timeout_s)
    siblings = [pool.submit(make_call("echo", index)) for index in range(3)]
    reply = pool.submit(call, lambda log: None).result(20)
    assert reply.status == status
    assert reply.error is not None
    assert reply.error.type.endswith(kind)
    assert message in reply.error.message
    assert reply.result_json is None
    assert reply.seconds >= (timeout_s or 0)
    assert {sibling.result(20).status for sibling in siblings} == {"succeeded"}


def test_the_traceback_begins_in_the_users_code(pool: ProcessPool) -> None:
    """An error shows the user's own lines and its cause, and none of the pool's."""
    error = pool.submit(make_call("raise_chained", 7)).result(20).error
    assert error is not None
    assert "ValueError: bad payload 7" in error.traceback
    assert "in raise_chained" in error.traceback
    assert "project_fanout/engine" not in error.traceback


def test_a_fanout_comes_back_as_keys_and_payloads(pool: ProcessPool) -> None:
    """A stage that fans out hands over its units, in order, and no result."""
    reply = pool.submit(make_call("fan_out", 2)).result(20)
    assert reply.fanout == (("u1/0", '{"index":0}'), ("u1/1", '{"index":1}'))
    assert reply.result_json is None


def test_a_large_result_arrives_whole(pool: ProcessPool) -> None:
    """A result far larger than any buffer arrives unharmed, also within a deadline."""
    reply = pool.submit(make_call("return_large", 5_000_000, timeout_s=20)).result(20)
    assert reply.result_json == '"' + "x" * 5_000_000 + '"'


def test_a_large_payload_arrives_whole(pool: ProcessPool) -> None:
    """So does a payload."""
    reply = pool.submit(make_call("echo", "x" * 5_000_000)).result(20)
    assert len(reply.result_json or "") > 5_000_000


def test_units_run_in_other_processes_that_know_no_dagster(pool: ProcessPool) -> None:
    """Work really leaves the process, runs where it would here, without Dagster or __main__."""
    assert json.loads(pool.submit(make_call("process_id")).result(20).result_json or "") in pool.pids
    modules = json.loads(pool.submit(make_call("loaded_modules")).result(20).result_json or "")
    assert not {"dagster", "pandas", "pydantic", "sqlalchemy", "pytest"} & set(modules)
    assert json.loads(pool.submit(make_call("surroundings")).result(20).result_json or "") == {
        "cwd": str(Path.cwd()),
        "path": list(dict.fromkeys(sys.path)),
        "main": None,
    }


@pytest.mark.parametrize(
    ("pool_options", "expected"), [({}, 5), ({"niceness": 0}, 0), ({"niceness": 19}, 19)]
)
def test_workers_stand_back_for_the_process_that_feeds_them(
    pool_options: dict[str, int], expected: int
) -> None:
    """With all CPUs busy, the op that finds the records and the web server still get theirs."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    with ProcessPool(1, **pool_options) as pool:
        found = json.loads(pool.submit(make_call("niceness")).result(20).result_json or "")
    assert found[0] == min(own + expected, 19)
    assert found[1:] in ([], [expected])


def test_an_idle_worker_that_is_killed_costs_nothing(pool: ProcessPool) -> None:
    """A worker killed between two units takes none with it."""
    for _ in range(2):
        for future in [pool.submit(make_call("append_and_burn", os.devnull)) for _ in range(8)]:
            assert future.result(20).status == "succeeded"
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)
        futures = [pool.submit(make_call("echo")) for _ in range(8)]
        assert {future.result(20).status for future in futures} == {"succeeded"}


def test_children_of_a_killed_unit_are_killed_too(pool: ProcessPool, tmp_path: Path) -> None:
    """A unit over its deadline takes all that it started with it, also in another session."""
    pids_file = tmp_path / "pids"
    reply = pool.submit(make_call("hang_with_children", str(pids_file), timeout_s=1)).result(20)
    assert reply.status == "timed_out"
    pids = [int(pid) for pid in pids_file.read_text().split()]
    assert len(pids) == 3
    wait_until(lambda: not any(map(lives, pids)), f"{pids} are dead")


def test_a_fork_cannot_hide_the_death_of_its_worker(pool: ProcessPool, tmp_path: Path) -> None:
    """A worker that dies is noticed, and what it forked is killed."""
    pid_file = tmp_path / "pid"
    reply = pool.submit(make_call("exit_leaving_fork", str(pid_file))).result(20)
    assert (reply.status, "exit code 5" in str(reply.error)) == ("crashed", True)
    wait_until(lambda: not lives(int(pid_file.read_text())), "the forked child is dead")


def test_a_stage_that_forks_replies_once(pool: ProcessPool) -> None:
    """If a unit forks and both processes return, the worker's own result counts."""
    reply = pool.submit(make_call("return_twice")).result(20)
    assert json.loads(reply.result_json or "") in pool.pids


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

    def recall_too_late(board: Board, number: int) -> bool:
        recalled.append(recall(board, number))
        return False

    recall = Board.recall
    monkeypatch.setattr(Board, "recall", recall_too_late)
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
        levels = {int(future.result(20).result_json or "") for future in wide}
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


def test_logs_arrive_with_their_unit_and_before_the_reply(pool: ProcessPool) -> None:
    """What a unit logs from INFO up reaches the caller, with record and unit key, before the future ends."""
    logs: list[tuple[UnitLog, bool]] = []
    future = pool.submit(make_call("write_logs", 7, key="k"), lambda log: logs.append((log, future.done())))
    assert future.result(20).status == "succeeded"
    info, error = (log for log, _ in logs)
    assert info == UnitLog("r1", "k", "stage", logging.INFO, "working on k")
    assert (error.level, "ValueError: bad payload 7" in error.message) == (logging.ERROR, True)
    assert not any(done for _, done in logs)


def test_a_log_callback_that_raises_harms_nobody(pool: ProcessPool, caplog: pytest.LogCaptureFixture) -> None:
    """An error of the caller's own log callback is reported, and the unit goes on."""
    with caplog.at_level(logging.ERROR):
        assert pool.submit(make_call("write_logs"), lambda log: 1 / 0).result(20).status == "succeeded"
    assert "ZeroDivisionError" in caplog.text


def test_many_threads_may_submit_at_once(pool: ProcessPool) -> None:
    """Steps in many threads share one pool, and each gets its own replies."""
    replies: dict[int, list[str | None]] = {}

    def submit_some(number: int) -> None:
        futures = [pool.submit(make_call("echo", [number, index])) for index in range(25)]
        replies[number] = [future.result(20).result_json for future in futures]

    threads = [threading.Thread(target=submit_some, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert replies == {
        number: [json.dumps(["u1", [number, index], {}], separators=(",", ":")) for index in range(25)]
        for number in range(8)
    }


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


def test_a_unit_over_the_memory_limit_crashes_its_worker_alone() -> None:
    """The attempt is crashed and its error names the limit; what waits behind it runs once, in a new worker."""
    sizes = [0, 0, 0, 400_000_000, *[100_000_000] * 6]
    with ProcessPool(1, memory_limit_mb=300) as pool:
        first = pool.submit(make_call("process_id")).result(20)
        replies = [
            each.result(20) for each in [pool.submit(make_call("want_memory", size)) for size in sizes]
        ]
        last = pool.submit(make_call("process_id")).result(20)
    assert [reply.status for reply in replies] == [*["succeeded"] * 3, "crashed", *["succeeded"] * 6]
    assert str(replies[3].error) == "MemoryError: (memory_limit_mb of the pool is 300)"
    assert "want_memory" in replies[3].error.traceback
    assert first.result_json != last.result_json


def test_a_worker_can_be_ended_where_the_run_ignores_sigterm() -> None:
    """Under `nohup` or a script's `dagster dev &`, SIGTERM still ends a worker and what a unit starts."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with ProcessPool(1) as pool:
            reply = pool.submit(make_call("kill_self", int(signal.SIGTERM))).result(20)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (reply.status, reply.error is not None and "SIGTERM" in reply.error.message) == ("crashed", True)


def test_workers_that_cannot_start_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no worker comes up, the call ends as crashed and says so, rather than trying for ever."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with ProcessPool(1) as pool:
        reply = pool.submit(make_call("echo")).result(20)
    assert reply.status == "crashed"
    assert "3 workers in turn failed before they could start it" in str(reply.error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_workers": 0}, "max_workers is 0, accepted: an int of 1 or more or None"),
        ({"max_workers": True}, "max_workers is True"),
        ({"max_result_bytes": -1}, "max_result_bytes is -1, accepted: an int of 1 or more."),
        ({"memory_limit_mb": 1.5}, "memory_limit_mb is 1.5"),
        ({"niceness": -1}, "niceness is -1, accepted: an int from 0 to 19"),
        ({"niceness": 20}, "niceness is 20, accepted: an int from 0 to 19"),
        ({"niceness": True}, "niceness is True"),
    ],
)
def test_bad_arguments_are_refused_with_what_is_accepted(arguments: dict[str, object], message: str) -> None:
    """A pool with impossible settings is refused when it is made."""
    with pytest.raises(FanoutDefinitionError, match=message):
        ProcessPool(**arguments)  # type: ignore[arg-type]  # what is refused


PARENT = """
    import pathlib, sys, time
    from project_fanout.engine import ProcessPool
    from project_fanout_tests.engine.pool_support import make_call

    pool = ProcessPool(2)
    for name in ("one", "two"):
        pool.submit(make_call("hang_with_children", f"{sys.argv[1]}/{name}"))
    while len(list(pathlib.Path(sys.argv[1]).glob("???"))) < 2:
        time.sleep(0.01)
    print(*pool.pids, pool._guard._process.pid, flush=True)
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


def test_a_guard_that_is_killed_is_replaced() -> None:
    """Killing the guard does not leave later workers without one."""
    before = NothingLeft()
    with ProcessPool(1) as pool:
        assert pool.submit(make_call("echo")).result(20).status == "succeeded"
        guard = pool._guard._process
        assert guard is not None
        guard.kill()
        guard.wait(20)
        assert pool.submit(make_call("exit_process", 1)).result(20).status == "crashed"
        assert pool.submit(make_call("echo")).result(20).status == "succeeded"
        assert pool._guard._process is not guard
        assert pool._guard._process.poll() is None
    before.check()


def test_params_reach_the_stage(pool: ProcessPool) -> None:
    """A stage gets its params as keyword arguments, each time afresh."""
    call = make_call("echo", 1, params={"width": 3})
    assert pool.submit(call).result(20).result_json == '["u1",1,{"width":3}]'


def test_a_pool_refuses_work_in_a_forked_process() -> None:
    """A forked copy of the process is told to make its own pool instead of waiting for ever."""
    script = """
        import os
        from project_fanout.engine import ProcessPool
        from project_fanout.engine.errors import PoolClosedError
        from project_fanout_tests.engine.pool_support import make_call

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


def test_params_that_cannot_be_unpickled_fail_the_unit(pool: ProcessPool) -> None:
    """Params that make no sense in the worker are a failure of the unit."""
    call = make_call("echo")
    broken = type(call)(call.stage, "r1", "u1", "null", pickle.dumps({})[:-3])
    assert pool.submit(broken).result(20).status == "failed"
