"""What a unit may do to its worker, and what the pool makes of it."""

import json
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from project_fanout.engine import ProcessPool
from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.engine.pools.backlog import Backlog
from project_fanout.engine.pools.calls import UnitLog
from project_fanout.engine.pools.ticket import Ticket
from project_fanout_tests.engine.pools.support import NothingLeft, lives, make_call
from project_fanout_tests.waiting import wait_until


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
        assert [json.loads(future.result(20).encoded)[1] for future in futures] == [0, 1, 2, 3]


CRASH_TABLE = [
    # phase, stage, payload, deadline, status, type of the error, what its message says
    ("name", "no_colon_here:", None, None, "failed", "ValueError", "package.module:function"),
    ("name", "os:sep", None, None, "failed", "TypeError", "'os:sep' is a str"),
    ("import", "no_such_module_x:f", None, None, "failed", "ModuleNotFoundError", "no_such_module_x"),
    (
        "import",
        "project_fanout_tests.engine.pools.broken_stages:f",
        None,
        None,
        "failed",
        "ImportError",
        "this module is broken on purpose",
    ),
    ("import", "no_such_function", None, None, "failed", "AttributeError", "no_such_function"),
    ("run", "raise_error", 7, None, "failed", "ValueError", "bad payload 7"),
    ("run", "raise_chained", 7, None, "failed", "pools.stages.NeedsKeyword", "code 7"),
    (
        "run",
        "raise_unspeakable",
        None,
        None,
        "failed",
        "pools.stages.Unspeakable",
        "str() raised RuntimeError",
    ),
    ("run", "raise_half_a_surrogate", None, None, "failed", "ValueError", "half \\ud800 of a pair"),
    ("run", "call_sys_exit", 3, None, "failed", "SystemExit", "3"),
    ("run", "raise_interrupt", None, None, "failed", "KeyboardInterrupt", ""),
    ("run", "recurse", None, None, "failed", "RecursionError", "maximum recursion depth"),
    (
        "result",
        "return_odd",
        "generator",
        None,
        "failed",
        "UnsupportedValueError",
        "result['sizes'][1] is a gene",
    ),
    (
        "result",
        "return_odd",
        "lock",
        None,
        "failed",
        "UnsupportedValueError",
        "result['tags']['one'] is a _thread.l",
    ),
    ("result", "return_odd", "function", None, "failed", "UnsupportedValueError", "result is a function"),
    (
        "result",
        "fan_out_odd",
        None,
        None,
        "failed",
        "UnsupportedValueError",
        "payload of unit 'odd one'['when'] is a tuple",
    ),
    ("result", "return_large", 70_000_000, None, "failed", "UnsupportedValueError", "70,000,002 bytes"),
    ("death", "exit_process", 0, None, "crashed", "WorkerCrashed", "exit code 0"),
    ("death", "exit_process", 3, None, "crashed", "WorkerCrashed", "exit code 3"),
    ("death", "segfault", None, None, "crashed", "WorkerCrashed", "SIGSEGV: native code"),
    ("death", "kill_self", int(signal.SIGKILL), None, "crashed", "WorkerCrashed", "memory ran out"),
    ("death", "kill_self", int(signal.SIGTERM), None, "crashed", "WorkerCrashed", "SIGTERM"),
    ("death", "kill_self_while_sending", None, None, "crashed", "WorkerCrashed", "SIGKILL"),
    ("death", "close_files_and_exit", 0.02, None, "crashed", "WorkerCrashed", "exit code 7"),
    ("death", "close_files_and_exit", 600, None, "crashed", "WorkerCrashed", "closed its connection"),
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
    assert reply.encoded is None
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
    assert reply.encoded is None


def test_a_large_result_arrives_whole(pool: ProcessPool) -> None:
    """A result far larger than any buffer arrives unharmed, also within a deadline."""
    reply = pool.submit(make_call("return_large", 5_000_000, timeout_s=20)).result(20)
    assert reply.encoded == '"' + "x" * 5_000_000 + '"'


def test_a_large_payload_arrives_whole(pool: ProcessPool) -> None:
    """So does a payload."""
    reply = pool.submit(make_call("echo", "x" * 5_000_000)).result(20)
    assert len(reply.encoded or "") > 5_000_000


def test_units_run_in_other_processes_that_know_no_dagster(pool: ProcessPool) -> None:
    """Work really leaves the process, runs where it would here, without Dagster or __main__."""
    assert json.loads(pool.submit(make_call("process_id")).result(20).encoded or "") in pool.pids
    modules = json.loads(pool.submit(make_call("loaded_modules")).result(20).encoded or "")
    assert not {"dagster", "pandas", "pydantic", "sqlalchemy", "pytest"} & set(modules)
    assert json.loads(pool.submit(make_call("surroundings")).result(20).encoded or "") == {
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
        found = json.loads(pool.submit(make_call("niceness")).result(20).encoded or "")
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
    assert json.loads(reply.encoded or "") in pool.pids


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
        replies[number] = [future.result(20).encoded for future in futures]

    threads = [threading.Thread(target=submit_some, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert replies == {
        number: [json.dumps(["u1", [number, index], {}], separators=(",", ":")) for index in range(25)]
        for number in range(8)
    }


class WatchedBacklog(Backlog):
    """Notes how many failed workers each call that comes back has been counted for."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.returned: list[int] = []

    def put_back(self, ticket: Ticket) -> None:
        self.returned.append(ticket.returned)
        super().put_back(ticket)


def test_a_unit_over_the_memory_limit_crashes_its_worker_alone() -> None:
    """The attempt is crashed and its error names the limit; what waits behind it runs once, in a new worker.

    And without a word against it: a call that three workers failed to start is crashed for good.
    """
    sizes = [0, 0, 0, 400_000_000, *[100_000_000] * 6]
    with ProcessPool(1, memory_limit_mb=300) as pool:
        pool._backlog = backlog = WatchedBacklog(1)
        first = pool.submit(make_call("process_id")).result(20)
        replies = [
            each.result(20) for each in [pool.submit(make_call("want_memory", size)) for size in sizes]
        ]
        last = pool.submit(make_call("process_id")).result(20)
    assert [reply.status for reply in replies] == [*["succeeded"] * 3, "crashed", *["succeeded"] * 6]
    assert str(replies[3].error) == "MemoryError: (memory_limit_mb of the pool is 300)"
    assert "want_memory" in replies[3].error.traceback
    assert first.encoded != last.encoded
    assert set(backlog.returned) == {0}


def test_whatever_comes_of_too_little_memory_names_the_limit() -> None:
    """An error that a library has made of it, a worker that dies of it, and a payload that does not fit."""
    calls = [
        make_call("hide_want_of_memory", 400_000_000),
        make_call("segfault"),
        make_call("echo", "x" * 40_000_000),
    ]
    with ProcessPool(1, memory_limit_mb=50) as pool:
        replies = [pool.submit(call).result(20) for call in calls]
        assert pool.submit(make_call("echo")).result(20).status == "succeeded"
    with ProcessPool(1, memory_limit_mb=1) as pool:
        replies.append(pool.submit(make_call("echo")).result(20))
    # In 1 MiB a worker may fail at its start or in its first call.
    for reply, said in zip(replies, ["cannot load the picture", "SIGSEGV", "3 workers", ""], strict=True):
        assert reply.status == "crashed"
        assert said in str(reply.error)
        assert re.search(r"\(memory_limit_mb of the pool is (50|1)\)$", str(reply.error))
    assert not any("the kernel" in str(reply.error) for reply in replies)


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 1>&- 2>&-"])
def test_a_pool_works_without_standard_streams(closed: str, tmp_path: Path) -> None:
    """As in a service that was started with them closed; what its units print goes nowhere, not to the pool."""
    script = (
        "import sys\n"
        "from project_fanout.engine import ProcessPool\n"
        "from project_fanout_tests.engine.pools.support import make_call\n"
        "with ProcessPool(1) as pool:\n"
        "    reply = pool.submit(make_call('say_something')).result(20)\n"
        "open(sys.argv[1], 'w').write(f'{reply.status} {reply.encoded} {reply.error}')\n"
    )
    told = tmp_path / "told"
    shell = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", script, str(told)]
    subprocess.run(shell, check=True, timeout=60)
    assert told.read_text() == 'succeeded "said" None'


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
        ({"max_workers": 0}, "max_workers is 0, accepted: int | None, 1 or more"),
        ({"max_workers": True}, "max_workers is True"),
        ({"max_result_bytes": -1}, "max_result_bytes is -1, accepted: int, 1 or more."),
        ({"memory_limit_mb": 1.5}, "memory_limit_mb is 1.5"),
        ({"niceness": -1}, "niceness is -1, accepted: int | None, 0 to 19"),
        ({"niceness": 20}, "niceness is 20, accepted: int | None, 0 to 19"),
        ({"niceness": True}, "niceness is True"),
    ],
)
def test_bad_arguments_are_refused_with_what_is_accepted(arguments: dict[str, object], message: str) -> None:
    """A pool with impossible settings is refused when it is made."""
    with pytest.raises(FanoutDefinitionError, match=re.escape(message)):
        ProcessPool(**arguments)  # type: ignore[arg-type]  # what is refused


def test_params_reach_the_stage(pool: ProcessPool) -> None:
    """A stage gets its params as keyword arguments, each time afresh."""
    call = make_call("echo", 1, params={"width": 3})
    assert pool.submit(call).result(20).encoded == '["u1",1,{"width":3}]'


def test_params_that_cannot_be_unpickled_fail_the_unit(pool: ProcessPool) -> None:
    """Params that make no sense in the worker are a failure of the unit."""
    call = make_call("echo")
    broken = type(call)(call.stage, "r1", "u1", "null", pickle.dumps({})[:-3])
    assert pool.submit(broken).result(20).status == "failed"
