"""Coroutine, threaded and batch stages on a real pool: what runs at once, and who is charged when it goes wrong."""

import json
import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from project_fanout.engine import InlinePool, ProcessPool
from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitPool, UnitReply
from project_fanout.engine.pools.process import slot
from project_fanout_tests.engine.pools.support import make_call
from project_fanout_tests.processes import run_python

KINDS = "project_fanout_tests.engine.pools.kind_stages"
UNITS = 4
BAD = "u2"


def call(stage: str, payload: Any = None, **settings: Any) -> UnitCall:
    """Return a call of a stage in `kind_stages`, of the kind that its name says."""
    settings.setdefault("is_async", stage not in ("thread", "at_once_in_threads", "batch", "wrong_batch"))
    if "batch" in stage:
        settings.setdefault("batch_size", UNITS)
    return make_call(f"{KINDS}:{stage}", payload, **settings)


def replies(pool: UnitPool, calls: list[UnitCall]) -> dict[str, UnitReply]:
    """Return the reply to each unit."""
    futures = [(each.unit_key, pool.submit(each)) for each in calls]
    return {key: future.result(60) for key, future in futures}


def calls_with(stage: str, bad: str, folder: Path, **settings: Any) -> list[UnitCall]:
    """Return calls of which one goes wrong."""
    folder.mkdir(exist_ok=True)
    return [
        call(stage, bad if f"u{n}" == BAD else None, key=f"u{n}", params={"folder": str(folder)}, **settings)
        for n in range(UNITS)
    ]


#: What the bad unit does, its deadline, how it ends, what its error says, and whether it ends its worker.
FAULTS = [
    ("raise", None, "failed", "ValueError: bad unit", False),
    ("exit", None, "crashed", "exit code 3", True),
    ("kill", None, "crashed", "SIGKILL", True),
    ("segfault", None, "crashed", "SIGSEGV", True),
    ("hang", 0.7, "timed_out", "deadline of 0.7 s and has been killed", True),
]
OF_COROUTINES = [
    ("wait", 0.7, "timed_out", "deadline of 0.7 s and has been cancelled", False),
    ("ignore cancellation", 0.7, "timed_out", "it went on after it was cancelled", True),
    ("hold the interpreter", 0.7, "timed_out", "deadline of 0.7 s and has been killed", True),
]


@pytest.mark.parametrize(
    ("stage", "fault", "timeout_s", "status", "error", "ends_worker"),
    [
        *(("coroutine", *fault) for fault in [*FAULTS, *OF_COROUTINES]),
        *(("thread", *fault) for fault in FAULTS),
        *(("batch", *fault) for fault in FAULTS),
    ],
)
def test_one_bad_unit_is_charged_alone(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    stage: str,
    fault: str,
    timeout_s: float | None,
    status: str,
    error: str,
    ends_worker: bool,
) -> None:
    """Whatever it does: the others at work beside it succeed, and where the worker lives on, each ran once."""
    if (
        fault == "hold the interpreter"
    ):  # the worker cannot even end itself: the pool waits no 6 s for it here
        monkeypatch.setattr(slot, "LONGEST_CANCEL_S", 0.5)
    with ProcessPool(1, units_per_worker=UNITS) as pool:
        found = replies(pool, calls_with(stage, fault, tmp_path / "started", timeout_s=timeout_s))
    assert {key: reply.status for key, reply in found.items()} == {
        f"u{n}": status if f"u{n}" == BAD else "succeeded" for n in range(UNITS)
    }
    assert error in str(found[BAD].error)
    starts = Counter(len(file.read_text().split()) for file in (tmp_path / "started").iterdir())
    if not ends_worker and stage != "batch":
        assert starts == {1: UNITS}


@pytest.mark.parametrize(
    ("stage", "settings"), [("at_once", {}), ("at_once_in_threads", {"units_per_worker": 20})]
)
def test_many_units_run_at_once_in_one_worker(stage: str, settings: dict[str, Any]) -> None:
    """A hundred coroutines by default, and as many threads as the pool is told."""
    with ProcessPool(1, **settings) as pool:
        pool.submit(call(stage)).result(60)
        found = replies(pool, [call(stage, key=f"u{n}") for n in range(20)])
        spans = [json.loads(reply.encoded) for reply in found.values() if isinstance(reply.encoded, str)]
        assert len(pool.pids) == 1
    assert max(begun for begun, _ in spans) < min(ended for _, ended in spans)


def test_no_more_units_are_at_work_than_the_limits_say() -> None:
    """`units_per_worker` in one worker, `max_workers` of the policy for the asset."""
    for settings, limits, most in (({"units_per_worker": 3}, {}, 3), ({}, {"max_in_flight": 2}, 2)):
        with ProcessPool(1, **settings) as pool:
            calls = [call("at_once", key=f"u{n}", budget="asset", **limits) for n in range(8)]
            found = replies(pool, calls)
        spans = [json.loads(reply.encoded) for reply in found.values() if isinstance(reply.encoded, str)]
        levels = [sum(begun <= moment < ended for begun, ended in spans) for moment, _ in spans]
        assert max(levels) == most


def test_log_lines_of_units_at_once_do_not_mix() -> None:
    """Each has its record and unit, also from a task or a thread that the unit has started."""
    logs: dict[str, list[str]] = {f"u{n}": [] for n in range(20)}

    def relay(key: str, log: UnitLog) -> None:
        assert log.unit_key == key
        logs[key].append(log.message)

    with ProcessPool(1) as pool:
        futures = [
            pool.submit(call("log_and_wait", key=key), lambda log, key=key: relay(key, log)) for key in logs
        ]
        assert {future.result(60).status for future in futures} == {"succeeded"}
    for key, said in logs.items():
        expected = [f"{key} says {n}" for n in range(3)]
        assert said[:3] == expected
        assert sorted(said[3:]) == [f"{key} in a task", f"{key} in a thread"]


@pytest.mark.parametrize("pool", [InlinePool, ProcessPool])
def test_a_batch_gives_each_unit_its_own_outcome(pool: Any, tmp_path: Path) -> None:
    """One result or UnitFailure per unit, in order."""
    with pool() as units:
        found = replies(units, calls_with("batch", "fail", tmp_path))
    assert str(found[BAD].error) == "UnitFailure: odd"
    assert {reply.status for key, reply in found.items() if key != BAD} == {"succeeded"}


def test_batches_are_filled_from_all_records_and_no_further_than_they_may() -> None:
    """What waits, of any record, goes together; another stage or other params do not."""
    with ProcessPool(1) as pool:
        blocker = pool.submit(call("burn", 0.5, budget="other", is_async=False))
        found = replies(pool, [call("async_batch", key=f"u{n}", batch_size=10) for n in range(25)])
        blocker.result(20)
    sizes = Counter(
        json.loads(reply.encoded or "") for reply in found.values() if isinstance(reply.encoded, str)
    )
    assert max(sizes) <= 10
    assert sizes[10] >= 10


@pytest.mark.parametrize("result", ["dict", "short", "none", "text"])
def test_a_batch_that_gives_no_list_says_what_it_gave(result: str) -> None:
    """Each unit fails once, and the message says what is accepted."""
    with InlinePool() as pool:
        reply = pool.submit(call("wrong_batch", result)).result()
    assert (reply.status, reply.final) == ("failed", True)
    assert "accepted: a list of 1, one result or UnitFailure(message) for each unit, in order" in str(
        reply.error
    )


def test_coroutines_and_functions_share_a_worker(tmp_path: Path) -> None:
    """A chain of both keeps one worker busy with both: neither waits for the end of the other."""
    with ProcessPool(1) as pool:
        waiting = pool.submit(
            call("coroutine", "wait", key="long", params={"folder": str(tmp_path)}, timeout_s=5)
        )
        functions = replies(pool, [make_call("process_id", key=f"f{n}") for n in range(50)])
        coroutines = replies(pool, [call("at_once", key=f"c{n}") for n in range(5)])
        assert {reply.status for reply in (functions | coroutines).values()} == {"succeeded"}
        assert not waiting.done()
        assert waiting.result(20).status == "timed_out"
        assert functions["f1"].encoded == str(pool.pids[0])


def test_inline_coroutines_run_one_after_the_other(tmp_path: Path) -> None:
    """In a test without processes the same stages give the same, and a deadline cancels."""
    with InlinePool() as pool:
        assert json.loads(pool.submit(call("fan_out")).result().fanout[1][1]) == 1  # type: ignore[index,arg-type]
        late = pool.submit(
            call("coroutine", "wait", params={"folder": str(tmp_path)}, timeout_s=0.2)
        ).result()
    assert (late.status, os.getpid()) == ("timed_out", int((tmp_path / "u1").read_text()))


PRINT = """
from project_fanout.engine import ProcessPool
from project_fanout_tests.engine.pools.test_kinds import call, replies
with ProcessPool(1) as pool:
    replies(pool, [call("print_and_wait", key=f"u{n}") for n in range(10)])
"""


def test_each_printed_line_says_whose_it_is(tmp_path: Path) -> None:
    """Standard output and error, warnings too, of ten units at once: whole lines, and one of a progress bar."""
    run = run_python("-c", PRINT, home=tmp_path)
    assert run.returncode == 0, run.stderr
    out, err = run.stdout.splitlines(), run.stderr.splitlines()
    for key in (f"u{n}" for n in range(10)):
        label = f"[record 'r1', unit '{key}'] "
        assert [line for line in out if key in line] == [
            f"{label}{key} begins and goes on",
            f"{label}{key} ends",
        ]
        assert [line for line in err if f"{key}: " in line and "%" in line] == [f"{label}{key}: 100%"]
        assert any(line.startswith(label) and f"UserWarning: {key} is odd" in line for line in err)


@pytest.mark.parametrize(
    ("level", "of_library", "own"),
    [(logging.DEBUG, [10, 20, 30], [10, 20, 30]), (logging.INFO, [30], [20, 30])],
)
def test_what_libraries_say_of_their_work_is_told_only_if_asked_for(
    level: int, of_library: list[int], own: list[int]
) -> None:
    """An HTTP client logs each URL, with its tokens: from WARNING on, unless all is wanted."""
    logs: list[UnitLog] = []
    with ProcessPool(1, log_level=level) as pool:
        assert (
            pool.submit(call("log_of_others", is_async=False), logs.append).result(60).status == "succeeded"
        )
    said = {name: [log.level for log in logs if log.logger == name] for name in ("hypothesis", KINDS, "root")}
    assert said == {"hypothesis": of_library, KINDS: [*own, 30], "root": own}
