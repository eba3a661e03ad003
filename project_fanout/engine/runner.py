"""Take records through a stage: hand their units to a pool, try again what may, keep the rows in order."""

import heapq
import math
import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from project_fanout.common import backoff_s
from project_fanout.engine.errors import NOT_OF_THE_UNIT, PoolClosedError
from project_fanout.engine.fingerprint import unit_fingerprint
from project_fanout.engine.model import UnitError, UnitOutcome
from project_fanout.engine.policy import LONGEST_DELAY_S, FanoutPolicy
from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitPool, UnitReply
from project_fanout.engine.pools.supplied import Supplied
from project_fanout.engine.progress import StepProgress
from project_fanout.engine.rate import Rate
from project_fanout.engine.record_state import EncodedUnit, RecordState
from project_fanout.engine.stages import Stage
from project_fanout.engine.tally import Tally
from project_fanout.engine.task import Task
from project_fanout.engine.unit_queue import UnitQueue
from project_fanout.engine.values import ValueStore

# A run may die of something else: of one that has died no unit is suspected.
_LEAST_DEATHS = 2
# With strategy auto a step hands out so many units for each place: two keep it busy while a reply travels, and of short
# ones as many as take so long, that the pool can hand them over by the handful. More would hold up other records.
_UNITS_AHEAD, _SECONDS_AHEAD, _MOST_AHEAD = 2, 0.12, 1024
# A step that has more of them in the pool hands out no further ones yet.
_FULL = 0.75


class Memory(Protocol):
    """Remembers what became of units, so that a resumed run runs only those without success."""

    def recall(self, run: "StageRun", tasks: Sequence[Task]) -> Iterable[tuple[Task, UnitOutcome]]:
        """Return those of *tasks* that need not run, and how they ended."""

    def begin(self, run: "StageRun", task: Task) -> None:
        """Note that a unit is about to be in work; called from any thread.

        Raises:
            LedgerError: that could not be kept.
        """

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
        store: where workers put large results, None to have them travel with the reply.
        supplied: what resources give to the stage.
        rate: says when units may start, None for as soon as the pool can.
        on_progress: called in the calling thread of one of the asset's steps every few seconds, with how far it is.
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
    store: ValueStore | None = None
    supplied: Supplied | None = None
    rate: Rate | None = None
    on_progress: Callable[[str], None] | None = None

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
        is_first = self.index == 0
        with (
            self.tally.step_in_progress(is_first=is_first),
            self.tally.progress.step(len(tasks), is_first=is_first) as progress,
        ):
            to_run = [task for task in tasks if task.outcome is None]
            progress.reuse(len(tasks) - len(to_run))
            _StageLoop(self, to_run, progress).run()
        in_order = iter(tasks)
        return [self._merge(record, in_order) for record in before]

    def call(self, task: Task, params: bytes) -> UnitCall:
        """Return what the pool gets for one attempt of *task*."""
        return UnitCall(
            stage=self.stage.reference,
            record_key=task.record_key,
            unit_key=task.unit.key,
            payload=task.unit.payload,
            params=params,
            supplied=self.supplied,
            import_root=self.stage.import_root,
            timeout_s=self.policy.unit_timeout_s,
            budget=self.budget,
            max_in_flight=self.policy.max_workers,
            store=self.store,
            is_async=self.stage.is_async,
            batch_size=self.policy.batch_size if self.stage.is_batch else None,
        )

    @property
    def most_at_once(self) -> int:
        """How many units, or batches of them, the pool can run at once."""
        batch_size = self.policy.batch_size if self.stage.is_batch else None
        call = UnitCall(
            self.stage.reference, "", "", "", b"", is_async=self.stage.is_async, batch_size=batch_size
        )
        return self.pool.places(call) // (batch_size or 1)

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
            waited=task.waited or 0.0,
        )

    def _task(self, record_key: str, unit: EncodedUnit) -> Task:
        fingerprint = unit_fingerprint(self.stage.reference, unit.key, unit.payload, self.params_json)
        return Task(record_key, unit, fingerprint)

    def _merge(self, record: RecordState, tasks: Iterator[Task]) -> RecordState:
        """Put what became of a record's units in their places, children where their parent was."""
        leaves: list[EncodedUnit | UnitOutcome] = []
        parent_of: dict[str, str] = {}
        ended, seconds, reused = record.ended, record.seconds, record.reused
        cpu_seconds, timed_seconds = record.cpu_seconds, record.timed_seconds
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
                if (cpu := task.outcome.cpu_seconds) is not None:
                    cpu_seconds += cpu
                    timed_seconds += task.outcome.seconds
        return replace(
            record,
            leaves=tuple(leaves),
            ended=ended,
            seconds=seconds,
            reused=reused,
            cpu_seconds=cpu_seconds,
            timed_seconds=timed_seconds,
        )

    def _children(
        self, outcome: UnitOutcome, parent_of: dict[str, str]
    ) -> Sequence[EncodedUnit | UnitOutcome]:
        """Return the units that the next stage takes in the place of a unit, or its outcome if it was the last."""
        if not outcome.succeeded or self.is_last:
            return [outcome]
        if outcome.fanout is not None:
            children = [EncodedUnit(key, payload) for key, payload in outcome.fanout]
        else:
            children = [EncodedUnit(outcome.unit_key, outcome.encoded or "null")]
        for child in children:
            if child.key in parent_of:
                error = UnitError(
                    "InvalidRecordError",
                    f"It fans out to the unit key {child.key!r}, as {parent_of[child.key]!r} of the same "
                    "record does; unit keys are unique within a record and stage, so put the parent's key "
                    "into them.",
                )
                self.tally.count(succeeded=False)
                return [replace(outcome, status="failed", error=error, encoded=None, fanout=None)]
        parent_of.update((child.key, outcome.unit_key) for child in children)
        return children


def _has_killed_runs(task: Task) -> UnitReply:
    """Return the reply to a unit that is not tried again, because runs have died with it in work."""
    task.attempts = task.died
    message = (
        f"it was in work in each of {task.died} runs that died, as a run does that is killed for its memory; it has "
        "not been tried again in this run. Give it more memory or less work; the next run tries it again"
    )
    return UnitReply("crashed", 0.0, error=UnitError("RunDied", message))


@dataclass(slots=True)
class _StageLoop:
    """The units of one step: which wait, which the pool has, which wait for their next attempt."""

    stage_run: StageRun
    tasks: Sequence[Task]
    progress: StepProgress
    _waiting: UnitQueue = field(init=False)
    _retries: list[tuple[float, int, Task]] = field(default_factory=list)
    _news: "SimpleQueue[UnitLog | tuple[Task, Future[UnitReply]]]" = field(default_factory=SimpleQueue)
    _in_pool: dict[int, "Future[UnitReply]"] = field(default_factory=dict)
    _stopped: bool = False
    _places: int = field(init=False)
    # How long a unit takes, the latest most of all; long until one has ended.
    _unit_s: float = 2.0
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._waiting = UnitQueue(self.tasks, one_per_record=self.stage_run.policy.strategy == "sequential")

    def run(self) -> None:
        """Return when every unit has its last reply, or the rest is not to be handed out."""
        if not self.tasks:
            return
        params = pickle.dumps(dict(self.stage_run.params))
        self._places = self.stage_run.pool.places(self.stage_run.call(self.tasks[0], params))
        self.progress.places, self.progress.in_pool = self._places, self._in_pool
        try:
            while True:
                self._hand_out(params)
                if not self._in_pool and not self._retries:
                    return
                self._say_progress()
                self._take_news(self._patience())
                # Of short units many have ended by now: their places are filled together.
                while not self._news.empty():
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
        now, memory = time.monotonic(), self.stage_run.memory
        while self._retries and self._retries[0][0] <= now:
            self._waiting.put_first(heapq.heappop(self._retries)[2])
        window = self._window
        is_full = len(self._in_pool) > window * _FULL
        while not self._stop() and not is_full and len(self._in_pool) < window:
            if (task := self._waiting.take()) is None:
                return
            if task.died >= max(_LEAST_DEATHS, self.stage_run.policy.max_attempts):
                self._waiting.release(task)
                self._end(task, _has_killed_runs(task))
                continue
            task.attempts += 1
            on_log = self._news.put if self.stage_run.on_log else None
            call = self.stage_run.call(task, params)
            on_begin = partial(memory.begin, self.stage_run, task) if memory and task.attempts == 1 else None
            future = self.stage_run.pool.submit(call, on_log, self.stage_run.rate, on_begin)
            self._in_pool[id(task)] = future
            future.add_done_callback(partial(self._note, task))
            while future.done() and not self._news.empty():
                # An inline pool has run it: it is kept, and counts, before the next one starts.
                self._say_progress()
                self._take_news()

    def _note(self, task: Task, done: "Future[UnitReply]") -> None:
        self._news.put((task, done))

    def _stop(self) -> bool:
        """Return whether to hand out no more; if so, end what has failed and take back the rest.

        That is with `fail_fast`, and where the stage cannot work for any unit.
        """
        policy, tally = self.stage_run.policy, self.stage_run.tally
        if not (
            (policy.fail_fast and tally.out_of_reach(policy.max_failed_ratio))
            or tally.works_in_vain(self.stage_run.stage.reference)
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

    @property
    def _window(self) -> float:
        """How many units this step may have in the pool."""
        if self.stage_run.policy.strategy != "auto":
            return math.inf
        places, steps = self._places, self.stage_run.tally.steps_in_progress
        of_short_ones = min(_MOST_AHEAD, _SECONDS_AHEAD / max(self._unit_s, 1e-6)) * places / steps
        return max(1, math.ceil(_UNITS_AHEAD * places / steps) + int(of_short_ones))

    def _take_news(self, patience_s: float = 0.0) -> None:
        try:
            news = self._news.get(timeout=patience_s) if patience_s else self._news.get_nowait()
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

    def _say_progress(self) -> None:
        if self.stage_run.on_progress and (line := self.stage_run.tally.progress.next_line()) is not None:
            self.stage_run.on_progress(line)

    def _patience(self) -> float:
        """Return how long to wait for news: until an attempt or a line of progress is due."""
        next_line = self.stage_run.tally.progress.seconds_to_next
        return (
            min(next_line, max(0.0, self._retries[0][0] - time.monotonic())) if self._retries else next_line
        )

    def _settle(self, task: Task, reply: UnitReply) -> None:
        self._unit_s += (reply.seconds - self._unit_s) / 4
        if task.waited is None:
            task.waited = max(0.0, time.monotonic() - reply.seconds - self._began)
        reply = reply.including(task.last)
        if reply.succeeded and reply.fanout is not None and self.stage_run.is_last:
            message = f"Stage {self.stage_run.stage.name} returned a Fanout, but no stage follows; add one to `stages`."
            error = UnitError("InvalidRecordError", message)
            reply = replace(reply, status="failed", fanout=None, error=error)
        elif (delay_s := self._delay_before_next(task, reply)) is not None:
            task.last = reply
            heapq.heappush(self._retries, (time.monotonic() + delay_s, id(task), task))
            return
        self._end(task, reply)

    def _delay_before_next(self, task: Task, reply: UnitReply) -> float | None:
        """Return the seconds until the next attempt of a unit, None if this was its last."""
        if reply.again is not None and task.put_off < reply.again.most:
            task.put_off += 1
            task.attempts -= not reply.again.is_attempt
            return min(reply.again.seconds, LONGEST_DELAY_S)
        is_last = reply.succeeded or reply.final or reply.again is not None
        if is_last or task.attempts >= self.stage_run.policy.max_attempts:
            return None
        return backoff_s(task.attempts, self.stage_run.policy.retry_delay_s, LONGEST_DELAY_S)

    def _end(self, task: Task, reply: UnitReply) -> None:
        """Note that *reply* is the last of a unit: also where `fail_fast` denies it another attempt."""
        task.outcome = self.stage_run.outcome(task, reply)
        self.progress.end(succeeded=reply.succeeded)
        if self.stage_run.memory is not None:
            self.stage_run.memory.remember(task, task.outcome)
        in_vain = reply.error is not None and reply.error.type in NOT_OF_THE_UNIT
        if reply.succeeded or in_vain:
            self.stage_run.tally.note_work(self.stage_run.stage.reference, in_vain=in_vain)
        if self.stage_run.is_last or not reply.succeeded:
            self.stage_run.tally.count(succeeded=reply.succeeded)
