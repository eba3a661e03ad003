"""Take records through a stage: hand their units to a pool, try again what may, keep the rows in order."""

import heapq
import math
import pickle
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from project_fanout.engine.errors import PoolClosedError
from project_fanout.engine.fingerprint import unit_fingerprint
from project_fanout.engine.model import UnitError, UnitOutcome
from project_fanout.engine.policy import LONGEST_DELAY_S, FanoutPolicy
from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitPool, UnitReply
from project_fanout.engine.record_state import EncodedUnit, RecordState
from project_fanout.engine.stages import Stage
from project_fanout.engine.tally import Tally
from project_fanout.engine.task import Task
from project_fanout.engine.unit_queue import UnitQueue


class Memory(Protocol):
    """Remembers what became of units, so that a resumed run runs only those without success."""

    def recall(self, run: "StageRun", tasks: Sequence[Task]) -> Iterable[tuple[Task, UnitOutcome]]:
        """Return those of *tasks* that need not run, and how they ended."""

    def remember(self, task: Task, outcome: UnitOutcome) -> None:
        """Keep how a unit ended; returns at once.

        Raises:
            LedgerError: an earlier one could not be kept.
        """


@dataclass(frozen=True, slots=True)
class StageRun:
    """Everything that the units of one stage have in common.

    Args:
        stage: the stage.
        index: its place among the stages, from 0.
        is_last: whether its results are the rows of the asset.
        params: values of the stage's params.
        params_json: the same as JSON text, for the fingerprints of units.
        policy: how to run.
        pool: where to run.
        tally: counts the asset's ended units for `fail_fast`; shared by all records of a run.
        budget: name under which the pool counts units in work for `policy.max_workers`.
        memory: remembers outcomes and recalls those of an earlier run; None to do neither.
        on_log: called in the calling thread for each log record of a unit.
    """

    stage: Stage
    index: int
    is_last: bool
    params: Mapping[str, Any]
    params_json: str
    policy: FanoutPolicy
    pool: UnitPool
    tally: Tally
    budget: str
    memory: Memory | None = None
    on_log: Callable[[UnitLog], None] | None = None

    def advance(self, records: Iterable[RecordState]) -> list[RecordState]:
        """Run the stage on every waiting unit of *records* and return the records one stage further.

        Raises:
            PoolClosedError: the pool was closed meanwhile, as it is when the run is cancelled.
            PoolLostError: the pool's cluster is gone; what had not ended has no outcome.
            LedgerError: an outcome could not be kept.
        """
        before = list(records)
        tasks = [self._task(record.record_key, unit) for record in before for unit in record.waiting]
        if self.memory is not None:
            for task, outcome in self.memory.recall(self, tasks):
                task.outcome, task.reused = outcome, True
        with self.tally.step_in_progress():
            _StageLoop(self, [task for task in tasks if task.outcome is None]).run()
        in_order = iter(tasks)
        return [self._merge(record, in_order) for record in before]

    def call(self, task: Task, params: bytes) -> UnitCall:
        """Return what the pool gets for one attempt of *task*."""
        return UnitCall(
            stage=self.stage.reference,
            record_key=task.record_key,
            unit_key=task.unit.key,
            payload_json=task.unit.payload_json,
            params=params,
            import_root=self.stage.import_root,
            timeout_s=self.policy.unit_timeout_s,
            budget=self.budget,
            max_in_flight=self.policy.max_workers,
        )

    def outcome(self, task: Task, reply: UnitReply) -> UnitOutcome:
        """Return what becomes of *task* if *reply* is its last."""
        return UnitOutcome.of(
            reply,
            record_key=task.record_key,
            unit_key=task.unit.key,
            stage=self.stage.name,
            stage_index=self.index,
            attempts=task.attempts,
            ended_at=time.time(),
        )

    def _task(self, record_key: str, unit: EncodedUnit) -> Task:
        fingerprint = unit_fingerprint(self.stage.reference, unit.key, unit.payload_json, self.params_json)
        return Task(record_key, unit, fingerprint)

    def _merge(self, record: RecordState, tasks: Iterator[Task]) -> RecordState:
        """Put what became of a record's units in their places, children where their parent was."""
        leaves: list[EncodedUnit | UnitOutcome] = []
        parent_of: dict[str, str] = {}
        ended, seconds, reused = record.ended, record.seconds, record.reused
        for leaf in record.leaves:
            if isinstance(leaf, UnitOutcome):
                leaves.append(leaf)
                continue
            task = next(tasks)
            if task.outcome is None:
                leaves.append(leaf)
            else:
                leaves.extend(self._children(task.outcome, parent_of))
                ended += 1
                seconds += task.outcome.seconds
                reused += task.reused
        return replace(record, leaves=tuple(leaves), ended=ended, seconds=seconds, reused=reused)

    def _children(
        self, outcome: UnitOutcome, parent_of: dict[str, str]
    ) -> Sequence[EncodedUnit | UnitOutcome]:
        """Return the units that the next stage takes in the place of a unit, or its outcome if it was the last."""
        if not outcome.succeeded or self.is_last:
            return [outcome]
        if outcome.fanout is not None:
            children = [EncodedUnit(key, payload_json) for key, payload_json in outcome.fanout]
        else:
            children = [EncodedUnit(outcome.unit_key, outcome.result_json or "null")]
        for child in children:
            if child.key in parent_of:
                error = UnitError(
                    "InvalidRecordError",
                    f"It fans out to the unit key {child.key!r}, as {parent_of[child.key]!r} of the same "
                    "record does; unit keys are unique within a record and stage, so put the parent's key "
                    "into them.",
                )
                self.tally.count(succeeded=False)
                return [replace(outcome, status="failed", error=error, result_json=None, fanout=None)]
        parent_of.update((child.key, outcome.unit_key) for child in children)
        return children


@dataclass(slots=True)
class _StageLoop:
    """The units of one step: which wait, which the pool has, which wait for their next attempt."""

    stage_run: StageRun
    tasks: Sequence[Task]
    _waiting: UnitQueue = field(init=False)
    _retries: list[tuple[float, int, Task]] = field(default_factory=list)
    _news: "SimpleQueue[UnitLog | tuple[Task, Future[UnitReply]]]" = field(default_factory=SimpleQueue)
    _in_pool: dict[int, "Future[UnitReply]"] = field(default_factory=dict)
    _stopped: bool = False

    def __post_init__(self) -> None:
        self._waiting = UnitQueue(self.tasks, one_per_record=self.stage_run.policy.strategy == "sequential")

    def run(self) -> None:
        """Return when every unit has its last reply, or `fail_fast` keeps the rest from being handed out."""
        if not self.tasks:
            return
        params = pickle.dumps(dict(self.stage_run.params))
        try:
            while True:
                self._hand_out(params)
                if not self._in_pool and not self._retries:
                    return
                self._take_news()
        except CancelledError:
            raise PoolClosedError(
                f"The pool was closed while stage {self.stage_run.stage.name} ran, as it is when "
                "its run is cancelled."
            ) from None
        finally:
            # A step that gives up, say because the ledger cannot be written, leaves no work behind.
            self._take_back()

    def _hand_out(self, params: bytes) -> None:
        now = time.monotonic()
        while self._retries and self._retries[0][0] <= now:
            self._waiting.put_first(heapq.heappop(self._retries)[2])
        while not self._stop() and len(self._in_pool) < self._window():
            if (task := self._waiting.take()) is None:
                return
            task.attempts += 1
            on_log = self._news.put if self.stage_run.on_log else None
            future = self.stage_run.pool.submit(self.stage_run.call(task, params), on_log)
            self._in_pool[id(task)] = future
            future.add_done_callback(partial(self._note, task))
            while future.done() and not self._news.empty():
                # An inline pool has run it: it is kept, and counts, before the next one starts.
                self._take_news()

    def _note(self, task: Task, done: "Future[UnitReply]") -> None:
        self._news.put((task, done))

    def _stop(self) -> bool:
        """Return whether `fail_fast` ends the hand-out; if so, end what has failed and take back the rest."""
        if not (
            self.stage_run.policy.fail_fast
            and self.stage_run.tally.out_of_reach(self.stage_run.policy.max_failed_ratio)
        ):
            return False
        self._stopped = True
        for task in [*self._waiting.drain(), *(retry[2] for retry in self._retries)]:
            self._give_up(task)
        self._retries.clear()
        self._take_back()
        return True

    def _take_back(self) -> None:
        """Cancel what no worker has begun with."""
        for future in list(self._in_pool.values()):
            future.cancel()

    def _give_up(self, task: Task) -> None:
        """End a unit whose next attempt is not made; one that has had none stays as it is."""
        if task.last is not None:
            self._end(task, task.last)

    def _window(self) -> float:
        """How many units this step may have in the pool."""
        if self.stage_run.policy.strategy != "auto":
            return math.inf
        # Two for each worker keep it busy while a reply travels; more would let one record hold up others.
        return max(1, math.ceil(2 * self.stage_run.pool.workers / self.stage_run.tally.steps_in_progress))

    def _take_news(self) -> None:
        timeout = max(0.0, self._retries[0][0] - time.monotonic()) if self._retries else None
        try:
            news = self._news.get(timeout=timeout)
        except Empty:
            return
        if isinstance(news, UnitLog):
            if self.stage_run.on_log:
                self.stage_run.on_log(news)
            return
        task, future = news
        del self._in_pool[id(task)]
        self._waiting.release(task)
        if self._stopped and future.cancelled():
            task.attempts -= 1
            self._give_up(task)
        else:
            self._settle(task, future.result())

    def _settle(self, task: Task, reply: UnitReply) -> None:
        reply = reply.including(task.last)
        if reply.succeeded and reply.fanout is not None and self.stage_run.is_last:
            message = f"Stage {self.stage_run.stage.name} returned a Fanout, but no stage follows; add one to `stages`."
            error = UnitError("InvalidRecordError", message)
            reply = replace(reply, status="failed", fanout=None, error=error)
        elif not reply.succeeded and not reply.final and task.attempts < self.stage_run.policy.max_attempts:
            delay = min(self.stage_run.policy.retry_delay_s * 2 ** (task.attempts - 1), LONGEST_DELAY_S)
            due = time.monotonic() + delay * random.uniform(0.5, 1.5)
            task.last = reply
            heapq.heappush(self._retries, (due, id(task), task))
            return
        self._end(task, reply)

    def _end(self, task: Task, reply: UnitReply) -> None:
        """Note that *reply* is the last of a unit: also where `fail_fast` denies it another attempt."""
        task.outcome = self.stage_run.outcome(task, reply)
        if self.stage_run.memory is not None:
            self.stage_run.memory.remember(task, task.outcome)
        if self.stage_run.is_last or not reply.succeeded:
            self.stage_run.tally.count(succeeded=reply.succeeded)
