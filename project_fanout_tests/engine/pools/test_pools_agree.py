"""The inline pool is the reference: a unit gets the same reply in every pool."""

import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from project_fanout.engine import InlinePool, ProcessPool
from project_fanout.engine.errors import PoolClosedError
from project_fanout.engine.pools.calls import UnitLog, UnitPool, UnitReply
from project_fanout_tests.engine.pools.support import make_call

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@pytest.fixture(scope="module")
def process_pool() -> Iterator[ProcessPool]:
    """One pool for all examples."""
    with ProcessPool(1) as pool:
        yield pool


def run(pool: UnitPool, stage: str, payload: Any = None, **arguments: Any) -> UnitReply:
    """Return the reply without what it took."""
    return replace(
        pool.submit(make_call(stage, payload, **arguments)).result(20),
        seconds=0.0,
        cpu_seconds=None,
        peak_mb=None,
        worker="",
    )


@settings(max_examples=60, deadline=None)
@given(payload=JSON, params=st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), JSON, max_size=3))
def test_every_payload_gets_the_same_reply_in_both_pools(
    process_pool: ProcessPool, payload: Any, params: dict[str, Any]
) -> None:
    """Where a unit runs makes no difference to its result, whatever JSON it works on."""
    inline = run(InlinePool(), "echo", payload, params=params)
    assert inline == run(process_pool, "echo", payload, params=params)
    assert json.loads(inline.encoded or "") == ["u1", payload, params]


@pytest.mark.parametrize(
    ("stage", "payload"),
    [
        ("no_such_function", None),
        ("no_such_module_x:f", None),
        ("raise_error", 7),
        ("raise_chained", 7),
        ("raise_half_a_surrogate", None),
        ("call_sys_exit", 3),
        ("return_odd", "generator"),
        ("return_odd", "lock"),
        ("fan_out", 3),
        ("fan_out_odd", None),
        ("return_large", 70_000_000),
    ],
)
def test_every_failure_is_the_same_in_both_pools(process_pool: ProcessPool, stage: str, payload: Any) -> None:
    """Error type, message and traceback do not depend on the pool either."""
    assert run(InlinePool(), stage, payload) == run(process_pool, stage, payload)


def test_an_error_without_a_text_is_the_same_in_both_pools(process_pool: ProcessPool) -> None:
    """Its type and message; what its traceback says instead depends on what else is imported on Python 3.10."""
    for reply in (run(InlinePool(), "raise_unspeakable"), run(process_pool, "raise_unspeakable")):
        assert reply.error is not None
        assert reply.error.type.endswith("pools.stages.Unspeakable")
        assert reply.error.message == "(its message cannot be had: str() raised RuntimeError)"
        assert "raise Unspeakable" in reply.error.traceback


def test_an_inline_unit_runs_here_and_now() -> None:
    """The inline pool runs a unit in this process before submit returns."""
    with InlinePool() as pool:
        future = pool.submit(make_call("process_id"))
        assert future.done()
        assert json.loads(future.result().encoded or "") == os.getpid()
        assert pool.places(make_call("process_id")) == 1


def test_an_inline_unit_over_its_deadline_is_timed_out_when_it_returns() -> None:
    """A deadline means the same inline, although nothing can be killed."""
    reply = InlinePool().submit(make_call("write_logs", timeout_s=1e-9), lambda log: None).result()
    assert reply.status == "timed_out"
    assert reply.encoded is None
    assert "past its deadline of 1e-09 s; an inline pool cannot stop a unit" in str(reply.error)


def test_an_interrupt_of_the_main_thread_is_not_taken_for_a_failure() -> None:
    """Ctrl-C during an inline unit interrupts the program; in another thread the unit itself raised it."""
    pool = InlinePool()
    with pytest.raises(KeyboardInterrupt):
        pool.submit(make_call("raise_interrupt"))
    replies: list[UnitReply] = []
    thread = threading.Thread(
        target=lambda: replies.append(pool.submit(make_call("raise_interrupt")).result())
    )
    thread.start()
    thread.join(20)
    assert (replies[0].status, str(replies[0].error)) == ("failed", "KeyboardInterrupt")


def test_inline_logs_of_many_threads_do_not_mix() -> None:
    """Each unit's log records reach its own caller, and the root logger is left as it was."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    pool = InlinePool()
    received: dict[str, list[UnitLog]] = {f"k{index}": [] for index in range(8)}
    start = threading.Barrier(len(received))

    def work(key: str) -> None:
        start.wait(20)
        for _ in range(20):
            pool.submit(make_call("write_logs", key=key), received[key].append)

    threads = [threading.Thread(target=work, args=(key,)) for key in received]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for key, logs in received.items():
        assert [log.unit_key for log in logs] == [key] * 40
        assert [log.message for log in logs[::2]] == [f"working on {key}"] * 20
    assert (root.level, list(root.handlers)) == before


def test_a_log_callback_may_itself_log() -> None:
    """A callback that writes to a log, as that of a run does, does not call itself for ever."""
    logs: list[UnitLog] = []

    def write_on(log: UnitLog) -> None:
        logs.append(log)
        logging.getLogger("run").warning("relayed: %s", log.message)

    assert InlinePool().submit(make_call("write_logs"), write_on).result().status == "succeeded"
    assert [log.logger for log in logs] == ["stage", "stage"]


def test_a_closed_inline_pool_refuses_calls() -> None:
    """A closed pool says so and what to do."""
    pool = InlinePool()
    pool.close()
    with pytest.raises(PoolClosedError, match=r"Unit 'u1' .* has been closed.* make a new pool"):
        pool.submit(make_call("echo"))
