"""The runner against plain loops: strategy and pool change when a unit runs, never what comes of it."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from project_fanout.engine import FanoutPolicy, InlinePool, ProcessPool, Record, Unit, UnitOutcome
from project_fanout.engine.errors import InvalidRecordError, LedgerError, PoolClosedError
from project_fanout.engine.model import UnitError
from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitPool, UnitReply
from project_fanout.engine.rate import Rate
from project_fanout.engine.record_state import RecordState
from project_fanout.engine.runner import Memory, StageRun
from project_fanout.engine.stages import describe_stage
from project_fanout.engine.tally import Tally
from project_fanout.engine.task import Task
from project_fanout_tests.engine import runner_stages as stages
from project_fanout_tests.waiting import wait_until


@pytest.fixture(scope="module")
def process_pool() -> Iterator[ProcessPool]:
    """Two workers for all tests of this module."""
    with ProcessPool(2) as pool:
        yield pool


@pytest.fixture(params=["inline", "process"])
def pool(request: pytest.FixtureRequest) -> UnitPool:
    """Each pool in turn."""
    return InlinePool() if request.param == "inline" else request.getfixturevalue("process_pool")


def run(
    records: Sequence[Record],
    functions: Sequence[Any],
    pool: UnitPool,
    policy: FanoutPolicy | None = None,
    *,
    tally: Tally | None = None,
    logs: list[UnitLog] | None = None,
    memory: Memory | None = None,
    **params: Any,
) -> list[RecordState]:
    """Take *records* through the stages *functions* and return them."""
    tally = tally or Tally()
    going = [RecordState.of(record) for record in records]
    for index, function in enumerate(functions):
        going = StageRun(
            stage=(stage := describe_stage(function)),
            index=index,
            is_last=index + 1 == len(functions),
            params={name: params[name] for name in stage.params if name in params},
            params_json=json.dumps(params, sort_keys=True, default=repr),
            policy=policy or FanoutPolicy(),
            pool=pool,
            tally=tally,
            budget="asset",
            memory=memory,
            on_log=None if logs is None else logs.append,
        ).advance(going)
    return going


class HandPool:
    """A pool of one worker that the test plays by hand, where the order of two replies matters."""

    def __init__(self) -> None:
        self.calls: dict[str, Future[UnitReply]] = {}

    def places(self, call: UnitCall) -> int:
        return 1

    def submit(
        self,
        call: UnitCall,
        on_log: Callable[[UnitLog], None] | None = None,
        rate: Rate | None = None,
        on_begin: Callable[[], None] | None = None,
    ) -> "Future[UnitReply]":
        """Keep the call for `reply`."""
        self.calls[call.unit_key] = Future()
        self.calls[call.unit_key].set_running_or_notify_cancel()
        return self.calls[call.unit_key]

    def reply(self, unit_key: str, reply: UnitReply) -> None:
        """End a unit."""
        self.calls[unit_key].set_result(reply)

    def close(self) -> None:
        """Nothing to close."""


def outcomes(going: Sequence[RecordState]) -> list[UnitOutcome]:
    """Return all outcomes in row order; none may be left without one."""
    assert not any(record.waiting for record in going)
    return [unit for record in going for unit in record.outcome.units]


Row = tuple[str, str, str, str, Any, str | None]


def row(record_key: str, outcome: UnitOutcome) -> Row:
    """Return what of an outcome does not depend on the clock."""
    error = None if outcome.error is None else str(outcome.error)
    return (record_key, outcome.unit_key, outcome.stage, outcome.status, outcome.result, error)


def split_and_weigh(records: Sequence[Record], width: int = 2, offset: int = 1) -> list[Row]:
    """Compute the rows of the chain `split`, `weigh` with loops: the oracle."""
    rows: list[Row] = []
    for record in records:
        for unit in record.units:
            if unit.payload == "broken":
                rows.append((record.key, unit.key, "split", "failed", None, "ValueError: told to fail"))
                continue
            if isinstance(unit.payload, list):
                children = [(f"{unit.key}/{index}", child) for index, child in enumerate(unit.payload)]
            else:
                children = [(unit.key, unit.payload * width)]
            for key, number in children:
                if number < 0:
                    error = f"LookupError: no weight for {number}"
                    rows.append((record.key, key, "weigh", "failed", None, error))
                    continue
                result = {"weight": number + offset, "odd": number % 2 == 1} if number % 3 else number
                rows.append((record.key, key, "weigh", "succeeded", result, None))
    return rows


numbers = st.integers(-3, 9)
payloads = numbers | st.lists(numbers, max_size=4) | st.just("broken")
keys = st.text(
    st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=8
)  # "/" tells a child from its parent
some_records = st.lists(
    st.tuples(keys, st.lists(st.tuples(keys, payloads), max_size=6, unique_by=lambda pair: pair[0])),
    max_size=6,
    unique_by=lambda pair: pair[0],
).map(lambda pairs: [Record(key, [Unit(*unit) for unit in units]) for key, units in pairs])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records=some_records, strategy=st.sampled_from(["sequential", "parallel", "auto"]), offset=numbers)
def test_any_records_give_what_loops_give(
    process_pool: ProcessPool, records: list[Record], strategy: Any, offset: int
) -> None:
    """Chained stages with 0, 1 and n children and failing units: every strategy and pool equals the loops."""
    expected = split_and_weigh(records, offset=offset)
    policy = FanoutPolicy(strategy=strategy)
    for pool in (InlinePool(), process_pool):
        going = run(records, [stages.split, stages.weigh], pool, policy, offset=offset, width=2)
        assert [record.record_key for record in going] == [record.key for record in records]
        assert [row(each.record_key, each) for each in outcomes(going)] == expected


@pytest.mark.parametrize("units", [0, 1, 30])
@pytest.mark.parametrize("strategy", ["sequential", "parallel", "auto"])
def test_0_1_and_30_units(pool: UnitPool, units: int, strategy: Any) -> None:
    """Any number of units comes back whole and in order."""
    records = [Record("r", [Unit(str(number), number) for number in range(units)])]
    ended = outcomes(run(records, [stages.echo], pool, FanoutPolicy(strategy=strategy)))
    assert [(each.unit_key, each.result, each.attempts) for each in ended] == [
        (str(number), number, 1) for number in range(units)
    ]
    assert all(each.seconds >= 0 for each in ended)


def test_an_unsuccessful_unit_does_not_touch_its_siblings(process_pool: ProcessPool) -> None:
    """One raises, one hangs, one kills its worker: three outcomes with their reasons, the others go on."""
    records = [Record("r", [Unit(key) for key in "abcd"])]
    policy = FanoutPolicy(unit_timeout_s=0.5)
    hung = outcomes(run(records, [stages.hang_on], process_pool, policy, key="b"))
    dead = outcomes(run(records, [stages.exit_on], process_pool, key="c"))
    assert [each.status for each in hung] == ["succeeded", "timed_out", "succeeded", "succeeded"]
    assert [each.status for each in dead] == ["succeeded", "succeeded", "crashed", "succeeded"]
    assert "0.5 s" in str(hung[1].error)
    assert "3" in str(dead[2].error)
    assert hung[1].result is None


def test_a_failure_carries_type_message_and_traceback(pool: UnitPool) -> None:
    """As text, from the first line of the user's own code on."""
    (ended,) = outcomes(run([Record("r", [Unit("u", -5)])], [stages.weigh], pool, offset=0))
    assert ended.error is not None
    assert (ended.error.type, ended.error.message) == ("LookupError", "no weight for -5")
    assert 'raise LookupError(f"no weight for {number}")' in ended.error.traceback
    assert "project_fanout/engine" not in ended.error.traceback


@pytest.mark.parametrize(
    ("times", "attempts", "status"), [(1, 2, "succeeded"), (2, 2, "failed"), (0, 1, "succeeded")]
)
def test_a_unit_is_tried_max_attempts_times(
    tmp_path: Path, pool: UnitPool, times: int, attempts: int, status: str
) -> None:
    """A success ends the attempts, the last failure is the outcome, and siblings are tried once."""
    records = [Record("r", [Unit("fails")]), Record("s", [Unit("other", 3)])]
    policy = FanoutPolicy(max_attempts=2, retry_delay_s=0.01)
    ended = outcomes(
        run(records[:1], [stages.fail_first], pool, policy, folder=str(tmp_path), times=times)
        + run(records[1:], [stages.echo], pool, policy)
    )
    assert [(each.status, each.attempts) for each in ended] == [(status, attempts), ("succeeded", 1)]
    assert len(list(tmp_path.iterdir())) == attempts


def test_what_would_fail_again_is_not_tried_again(tmp_path: Path, pool: UnitPool) -> None:
    """A stage that raises FinalError, as for a wrong password, is called once whatever max_attempts says."""
    policy = FanoutPolicy(max_attempts=3, retry_delay_s=0.01)
    record = Record("r", [Unit("u")])
    (ended,) = outcomes(run([record], [stages.fail_for_good], pool, policy, folder=str(tmp_path)))
    assert (ended.status, ended.attempts, len(list(tmp_path.iterdir()))) == ("failed", 1, 1)


@pytest.mark.parametrize(
    ("how", "times", "max_attempts", "tries", "attempts", "error"),
    [
        ("RetryAfter", 4, 1, 5, 1, None),
        ("RetryAfter", 99, 1, 11, 1, "RetryAfter: 429 Too Many Requests"),
        ("RetryAfter", 99, 3, 11, 1, "RetryAfter: 429 Too Many Requests"),
        ("RetryRequested", 3, 1, 4, 4, None),
        ("RetryRequested", 99, 2, 4, 4, "dagster._core.definitions.events.RetryRequested"),
        ("Failure", 1, 2, 2, 2, None),
        ("final Failure", 1, 5, 1, 1, "Failure: no such page"),
    ],
)
def test_a_stage_says_when_it_may_be_tried_again(
    tmp_path: Path, how: str, times: int, max_attempts: int, tries: int, attempts: int, error: str | None
) -> None:
    """`RetryAfter` loses no attempt, ten times; Dagster's own exceptions mean what they say."""
    policy = FanoutPolicy(max_attempts=max_attempts, retry_delay_s=0.01)
    with ProcessPool(1) as pool:
        records = [Record("r1", [Unit("u1", [how, times])])]
        (outcome,) = outcomes(run(records, [stages.come_back], pool, policy, folder=str(tmp_path)))
    assert len(list(tmp_path.iterdir())) == tries
    assert outcome.attempts == attempts
    assert outcome.succeeded == (error is None)
    assert error is None or error in str(outcome.error)


def test_a_result_that_cannot_travel_is_not_tried_again(tmp_path: Path, pool: UnitPool) -> None:
    """A unit that returns what cannot travel costs one attempt, and the place is named."""
    said = {
        "merged keys": "UnsupportedValueError: result['years'] has two keys of which the same travels, 1",
        "a lock": "UnsupportedValueError: result['tags'][1] is a _thread.lock, which cannot travel",
        "a generator": "UnsupportedValueError: result is a generator, which cannot travel between processes: make",
        "a unit": "UnsupportedValueError: result is a Unit, which cannot travel",
        "a fan-out": "UnsupportedValueError: payload of unit 'odd'['of'] is a tuple_iterator, which cannot travel",
        "too long": "UnsupportedValueError: the result takes 67,108,867 bytes, more than max_result_bytes",
    }
    policy = FanoutPolicy(max_attempts=3, retry_delay_s=0.0)
    record = Record("r", [Unit(key) for key in said])
    ended = outcomes(run([record], [stages.return_unfit], pool, policy, folder=str(tmp_path)))
    assert {unit.unit_key: (unit.status, unit.attempts) for unit in ended} == dict.fromkeys(
        said, ("failed", 1)
    )
    assert all(str(unit.error).startswith(said[unit.unit_key]) for unit in ended), [
        unit.error for unit in ended
    ]
    assert len(list(tmp_path.iterdir())) == len(said)


def test_sequential_means_one_after_the_other(tmp_path: Path, process_pool: ProcessPool) -> None:
    """No unit of a record starts before the one before it has ended, in a pool that could do more."""
    records = [Record("r", [Unit(str(number)) for number in range(8)])]
    policy = FanoutPolicy(strategy="sequential")
    ended = outcomes(run(records, [stages.level], process_pool, policy, folder=str(tmp_path), wait_for=1))
    assert [each.result for each in ended] == [{"working": 1, "started": n + 1} for n in range(8)]


@pytest.mark.parametrize("strategy", ["parallel", "auto"])
def test_parallel_and_auto_use_every_worker(tmp_path: Path, process_pool: ProcessPool, strategy: Any) -> None:
    """The first unit is still in work when the second starts, and no more than two ever are."""
    records = [Record("r", [Unit(str(number)) for number in range(8)])]
    policy = FanoutPolicy(strategy=strategy)
    ended = outcomes(run(records, [stages.level], process_pool, policy, folder=str(tmp_path), wait_for=2))
    assert ended[0].result["started"] >= 2
    assert all(each.result["working"] <= 2 for each in ended)


def test_max_workers_caps_the_units_in_work(tmp_path: Path, process_pool: ProcessPool) -> None:
    """The units of several records together, in a pool that could do more."""
    records = [Record(f"r{n}", [Unit(f"r{n}u{number}") for number in range(4)]) for n in range(3)]
    policy = FanoutPolicy(strategy="parallel", max_workers=1)
    ended = outcomes(run(records, [stages.level], process_pool, policy, folder=str(tmp_path), wait_for=1))
    assert [each.result["working"] for each in ended] == [1] * 12


def test_fail_fast_hands_out_nothing_more(tmp_path: Path, pool: UnitPool) -> None:
    """Once no failure is allowed and one has come, the units that wait do not start."""
    records = [Record("r", [Unit(f"u{number:02}") for number in range(30)])]
    policy = FanoutPolicy(strategy="sequential", fail_fast=True)
    (record,) = run(records, [stages.mark], pool, policy, folder=str(tmp_path), fail="u02")
    assert [each.status for each in record.outcome.units] == ["succeeded", "succeeded", "failed"]
    assert [unit.key for unit in record.waiting] == [f"u{number:02}" for number in range(3, 30)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["u00", "u01", "u02"]


def test_fail_fast_waits_until_the_ratio_is_out_of_reach(tmp_path: Path) -> None:
    """With 10 units and a tolerance of 0.2 the third failure is the one too many."""
    tally = Tally()
    tally.expect(10)
    records = [Record("r", [Unit(f"u{number}") for number in range(10)])]
    policy = FanoutPolicy(strategy="sequential", fail_fast=True, max_failed_ratio=0.2)
    run(records, [stages.mark], InlinePool(), policy, tally=tally, folder=str(tmp_path), fail="u")
    assert len(list(tmp_path.iterdir())) == 3


def test_fail_fast_denies_further_attempts_and_keeps_the_failure() -> None:
    """A unit that waits for its next attempt, an hour here, ends at once with the error of its last one."""
    records = [Record("r", [Unit("raises"), Unit("fans out")])]
    policy = FanoutPolicy(strategy="sequential", fail_fast=True, max_attempts=2, retry_delay_s=3600)
    ended = outcomes(run(records, [stages.raise_or_fan_out], InlinePool(), policy))
    assert [(each.unit_key, each.status, each.attempts) for each in ended] == [
        ("raises", "failed", 1),
        ("fans out", "failed", 1),
    ]
    assert str(ended[0].error) == "ValueError: not this time"


def test_fail_fast_takes_back_what_no_worker_has_begun(tmp_path: Path, process_pool: ProcessPool) -> None:
    """Also where all units have been handed to the pool at once: of 60 few more start than were under way."""
    records = [Record("r", [Unit(f"u{number:02}") for number in range(60)])]
    policy = FanoutPolicy(strategy="parallel", fail_fast=True)
    tally = Tally()
    ended: list[RecordState] = []
    params = {"folder": str(tmp_path), "fail": "u00", "go": str(tmp_path / "go")}

    def take() -> None:
        ended.extend(run(records, [stages.mark_and_wait], process_pool, policy, tally=tally, **params))

    thread = threading.Thread(target=take)
    thread.start()
    wait_until(lambda: tally.out_of_reach(0), "the first unit has failed")
    (tmp_path / "go").touch()
    thread.join(30)
    (record,) = ended
    marks = sorted(path.name for path in tmp_path.glob("u*"))
    assert "u00" in marks
    assert len(marks) <= 20
    assert sorted(unit.unit_key for unit in record.outcome.units) == marks
    assert len(record.waiting) == 60 - len(marks)


def test_fail_fast_keeps_a_failure_that_waits_for_room(tmp_path: Path) -> None:
    """A unit whose next attempt is due, but finds the pool full, ends with the error of its last one."""
    pool = HandPool()
    policy = FanoutPolicy(strategy="auto", fail_fast=True, max_attempts=2, retry_delay_s=0.01)
    records = [Record("r", [Unit("raises"), Unit("fans out"), Unit("third")])]
    ended: list[RecordState] = []
    thread = threading.Thread(target=lambda: ended.extend(run(records, [stages.echo], pool, policy)))
    thread.start()
    wait_until(lambda: len(pool.calls) == 2, "two are in the pool")
    pool.reply("raises", UnitReply("failed", 0.0, error=UnitError("ValueError", "not this time")))
    wait_until(lambda: len(pool.calls) == 3, "the third has taken its place")
    time.sleep(0.1)  # the retry is due within 0.015 s, and nothing shows that it waits
    pool.reply("fans out", UnitReply("succeeded", 0.0, fanout=(("child", "null"),)))
    pool.reply("third", UnitReply("succeeded", 0.0, "3"))
    thread.join(30)
    (record,) = ended
    assert [(each.unit_key, each.status, each.attempts) for each in record.outcome.units] == [
        ("raises", "failed", 1),
        ("fans out", "failed", 1),
        ("third", "succeeded", 1),
    ]


def test_a_step_that_gives_up_leaves_no_work_behind(tmp_path: Path, process_pool: ProcessPool) -> None:
    """When an outcome cannot be kept, units that no worker has begun are not run for nobody."""

    class Full:
        """A ledger whose disk is full."""

        def recall(self, run: StageRun, tasks: Sequence[Task]) -> list[tuple[Task, UnitOutcome]]:
            return []

        def begin(self, run: StageRun, task: Task) -> None:
            """Nothing to note."""

        def remember(self, task: Task, outcome: UnitOutcome) -> None:
            raise LedgerError("disk full")

    (tmp_path / "go").touch()
    records = [Record("r", [Unit(f"u{number:02}") for number in range(60)])]
    params = {"folder": str(tmp_path), "fail": "", "go": str(tmp_path / "go")}
    with pytest.raises(LedgerError):
        run(
            records,
            [stages.mark_and_wait],
            process_pool,
            FanoutPolicy(strategy="parallel"),
            memory=Full(),
            **params,
        )
    # Whatever the two workers had in hand is through before what is submitted now.
    outcomes(run(records[:1], [stages.echo], process_pool))
    assert len(list(tmp_path.glob("u*"))) <= 40


def test_sequential_records_do_not_wait_for_each_other(tmp_path: Path, process_pool: ProcessPool) -> None:
    """Records that share a step use all workers, each with one unit at a time."""
    records = [Record(f"r{n}", [Unit(f"r{n}u{number}") for number in range(4)]) for n in range(2)]
    policy = FanoutPolicy(strategy="sequential")
    ended = outcomes(run(records, [stages.level], process_pool, policy, folder=str(tmp_path), wait_for=2))
    assert ended[0].result["started"] >= 2
    for record in ("r0", "r1"):
        started = [each.result["started"] for each in ended if each.unit_key.startswith(record)]
        assert started == sorted(started)


def test_inline_a_unit_is_kept_before_the_next_one_begins(tmp_path: Path) -> None:
    """With the inline pool, too, a kill costs the unit in work alone, whatever the strategy."""
    begun: list[int] = []

    class Notes:
        """Notes how many units had begun when the outcome of each came to be kept."""

        def recall(self, run: StageRun, tasks: Sequence[Task]) -> list[tuple[Task, UnitOutcome]]:
            return []

        def begin(self, run: StageRun, task: Task) -> None:
            """Nothing to note."""

        def remember(self, task: Task, outcome: UnitOutcome) -> None:
            begun.append(len(list(tmp_path.iterdir())))

    records = [Record("r", [Unit(f"u{number}") for number in range(5)])]
    for strategy in ("parallel", "auto"):
        policy = FanoutPolicy(strategy=strategy)  # type: ignore[arg-type]  # one of its values
        run(records, [stages.mark], InlinePool(), policy, memory=Notes(), folder=str(tmp_path))
        assert begun == [1, 2, 3, 4, 5]
        begun.clear()
        for mark in tmp_path.iterdir():
            mark.unlink()


def test_inline_max_workers_holds_for_all_threads(tmp_path: Path) -> None:
    """Two steps of one asset that run their units themselves do not run more at once than `max_workers`."""
    pool, tally = InlinePool(), Tally()
    policy = FanoutPolicy(max_workers=1)
    found: list[UnitOutcome] = []

    def take(name: str) -> None:
        records = [Record(name, [Unit(f"{name}{number}") for number in range(6)])]
        going = run(records, [stages.level], pool, policy, tally=tally, folder=str(tmp_path), wait_for=1)
        found.extend(outcomes(going))

    threads = [threading.Thread(target=take, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [each.result["working"] for each in found] == [1] * 12


def test_without_fail_fast_every_unit_runs(tmp_path: Path) -> None:
    """Whatever has failed before."""
    records = [Record("r", [Unit(f"u{number}") for number in range(10)])]
    run(records, [stages.mark], InlinePool(), folder=str(tmp_path), fail="u")
    assert len(list(tmp_path.iterdir())) == 10


def test_children_of_two_parents_need_different_keys(pool: UnitPool) -> None:
    """The second parent fails and says why; the first one's child goes on."""
    records = [Record("r", [Unit("a", 1), Unit("b", 2)]), Record("s", [Unit("a", 3)])]
    ended = outcomes(run(records, [stages.same_children, stages.echo], pool))
    assert [(each.record_key, each.unit_key, each.status, each.result) for each in ended] == [
        ("r", "child", "succeeded", 1),
        ("r", "b", "failed", None),
        ("s", "child", "succeeded", 3),
    ]
    assert "'child', as 'a' of the same record does" in str(ended[1].error)


@pytest.mark.parametrize(
    ("function", "why"),
    [(stages.twins, "'twin' twice"), (stages.same_children, "no stage follows; add one to `stages`")],
)
def test_a_wrong_fanout_is_that_units_failure(pool: UnitPool, function: Any, why: str) -> None:
    """Two children of one key, or children for whom there is no stage."""
    (ended,) = outcomes(run([Record("r", [Unit("a", 1)])], [function], pool))
    assert (ended.status, ended.result) == ("failed", None)
    assert re.search(re.escape(why), str(ended.error))


def test_a_payload_that_cannot_travel_is_refused_before_any_unit(tmp_path: Path) -> None:
    """With record, unit and the place in the payload."""
    records = [Record("r", [Unit("fine"), Unit("odd", {"when": iter(())})])]
    with pytest.raises(
        InvalidRecordError, match=r"Unit 'odd' of record 'r': payload\['when'\] is a tuple_iterator"
    ):
        run(records, [stages.mark], InlinePool(), folder=str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_stage_cannot_change_the_record(pool: UnitPool) -> None:
    """Every pool hands it a copy of the payload."""
    record = Record("r", [Unit("u", {"a": [1]})])
    (ended,) = outcomes(run([record], [stages.echo], pool))
    assert ended.result == {"a": [1]}
    assert ended.result is not record.units[0].payload


def test_logs_come_with_record_and_unit(pool: UnitPool) -> None:
    """Everything of INFO and up that a unit logs, and before the unit has ended."""
    logs: list[UnitLog] = []
    run([Record("r", [Unit("u", 30), Unit("v", 10)])], [stages.log_at], pool, logs=logs)
    assert logs == [UnitLog("r", "u", "workload", 30, "working at level 30")]


def test_a_closed_pool_ends_the_record() -> None:
    """As it does when the run is cancelled: an error, never a record that looks whole."""
    with InlinePool() as pool:
        pass
    with pytest.raises(PoolClosedError):
        run([Record("r", [Unit("u")])], [stages.echo], pool)


@pytest.mark.parametrize(
    ("failed", "total", "ratio", "out"),
    [
        (0, 10, 0.0, False),
        (1, 10, 0.0, True),
        (2, 10, 0.2, False),
        (3, 10, 0.2, True),
        (10, 10, 1.0, False),
        (1, None, 0.0, True),
        (1, None, 0.1, False),
        # 0.29 * 100 and 0.57 * 100 are a little less than 29 and 57 to a computer.
        (29, 100, 0.29, False),
        (57, 100, 0.57, False),
        (30, 100, 0.29, True),
    ],
)
def test_the_tally_knows_when_it_is_too_late(failed: int, total: int | None, ratio: float, out: bool) -> None:
    """At the ratio is still in reach, above it is not; without a total only 0 can be out of reach."""
    tally = Tally()
    for _ in range(failed):
        tally.count(succeeded=False)
    tally.count(succeeded=True)
    if total is not None:
        tally.expect(total)
    assert tally.out_of_reach(ratio) is out
