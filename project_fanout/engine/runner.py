"""Take records through a stage: hand their units to a pool, try again what may, keep the rows in order."""

import heapq
import json
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
from project_fanout.engine.job import Ended, Job
from project_fanout.engine.model import Unit, UnitError, UnitOutcome, to_json
from project_fanout.engine.policy import LONGEST_DELAY_S, FanoutPolicy
from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitPool, UnitReply
from project_fanout.engine.progress import Progress
from project_fanout.engine.stages import Stage
from project_fanout.engine.tally import Tally
from project_fanout.engine.unit_queue import UnitQueue


class Memory(Protocol):
    """Remembers what became of units, so that a resumed run runs only those without success."""

    def recall(self, run: "StageRun", jobs: Sequence[Job]) -> Iterable[tuple[Job, Ended]]:
        """Return those of *jobs* that need not run, and how they ended."""

    def remember(self, run: "StageRun", job: Job, ended: Ended) -> None:
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

    def advance(self, records: Iterable[Progress]) -> list[Progress]:
        """Run the stage on every waiting unit of *records* and return the records one stage further.

        Raises:
            PoolClosedError: the pool was closed meanwhile, as it is when the run is cancelled.
            PoolLostError: the pool's cluster is gone; what had not ended has no outcome.
            LedgerError: an outcome could not be kept.
        """
        before = list(records)
        jobs = [self._job(record.record_key, unit) for record in before for unit in record.waiting]
        if self.memory is not None:
            for job, ended in self.memory.recall(self, jobs):
                job.ended, job.reused = ended, True
        with self.tally.record_in_progress():
            _Hand(self, [job for job in jobs if job.ended is None]).play()
        in_order = iter(jobs)
        return [self._merge(record, in_order) for record in before]

    def call(self, job: Job, params: bytes) -> UnitCall:
        """Return what the pool gets for one attempt of *job*."""
        return UnitCall(
            stage=self.stage.reference,
            record_key=job.record_key,
            unit_key=job.unit.key,
            payload_json=job.payload_json,
            params=params,
            import_root=self.stage.import_root,
            timeout_s=self.policy.unit_timeout_s,
            budget=self.budget,
            max_in_flight=self.policy.max_workers,
        )

    def _job(self, record_key: str, unit: Unit) -> Job:
        payload_json = to_json(unit.payload, "payload")
        fingerprint = unit_fingerprint(self.stage.reference, unit.key, payload_json, self.params_json)
        return Job(record_key, unit, payload_json, fingerprint)

    def _merge(self, record: Progress, jobs: Iterator[Job]) -> Progress:
        """Put what became of a record's units in their places, children where their parent was."""
        leaves: list[Unit | UnitOutcome] = []
        parent_of: dict[str, str] = {}
        ended, seconds, reused = record.ended, record.seconds, record.reused
        for leaf in record.leaves:
            if isinstance(leaf, UnitOutcome):
                leaves.append(leaf)
                continue
            job = next(jobs)
            if job.ended is None:
                leaves.append(leaf)
            else:
                leaves.extend(self._children(job, job.ended, parent_of))
                ended += 1
                seconds += job.ended.seconds
                reused += job.reused
        return replace(record, leaves=tuple(leaves), ended=ended, seconds=seconds, reused=reused)

    def _children(self, job: Job, ended: Ended, parent_of: dict[str, str]) -> Sequence[Unit | UnitOutcome]:
        reply = ended.reply
        if reply.status != "succeeded" or self.is_last:
            return [self._outcome(job, ended)]
        if reply.fanout is not None:
            children = [Unit(key, json.loads(payload)) for key, payload in reply.fanout]
        else:
            children = [Unit(job.unit.key, json.loads(reply.result_json or "null"))]
        for child in children:
            if child.key in parent_of:
                error = UnitError(
                    "InvalidRecordError",
                    f"It fans out to the unit key {child.key!r}, as {parent_of[child.key]!r} of the same "
                    "record does; unit keys are unique within a record and stage, so put the parent's key "
                    "into them.",
                )
                failed = replace(reply, status="failed", error=error)
                self.tally.count(succeeded=False)
                return [self._outcome(job, replace(ended, reply=failed))]
        parent_of.update((child.key, job.unit.key) for child in children)
        return children

    def _outcome(self, job: Job, ended: Ended) -> UnitOutcome:
        reply = ended.reply
        has_result = reply.status == "succeeded" and reply.result_json is not None
        return UnitOutcome(
            record_key=job.record_key,
            unit_key=job.unit.key,
            stage=self.stage.name,
            status=reply.status,
            attempts=ended.attempts,
            seconds=ended.seconds,
            result=json.loads(reply.result_json or "null") if has_result else None,
            error=reply.error,
        )


@dataclass(slots=True)
class _Hand:
    """The units of one step: which wait, which the pool has, which wait for their next attempt."""

    run: StageRun
    jobs: Sequence[Job]
    _waiting: UnitQueue = field(init=False)
    _retries: list[tuple[float, int, Job]] = field(default_factory=list)
    _news: "SimpleQueue[UnitLog | tuple[Job, Future[UnitReply]]]" = field(default_factory=SimpleQueue)
    _in_pool: dict[int, "Future[UnitReply]"] = field(default_factory=dict)
    _stopped: bool = False

    def __post_init__(self) -> None:
        self._waiting = UnitQueue(self.jobs, one_per_record=self.run.policy.strategy == "sequential")

    def play(self) -> None:
        """Return when every unit has its last reply, or `fail_fast` keeps the rest from being handed out."""
        if not self.jobs:
            return
        params = pickle.dumps(dict(self.run.params))
        try:
            while True:
                self._hand_out(params)
                if not self._in_pool and not self._retries:
                    return
                self._take_news()
        except CancelledError:
            raise PoolClosedError(
                f"The pool was closed while stage {self.run.stage.name} ran, as it is when "
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
            if (job := self._waiting.take()) is None:
                return
            job.attempts += 1
            on_log = self._news.put if self.run.on_log else None
            future = self.run.pool.submit(self.run.call(job, params), on_log)
            self._in_pool[id(job)] = future
            future.add_done_callback(partial(self._note, job))
            while future.done() and not self._news.empty():
                # An inline pool has run it: it is kept, and counts, before the next one starts.
                self._take_news()

    def _note(self, job: Job, done: "Future[UnitReply]") -> None:
        self._news.put((job, done))

    def _stop(self) -> bool:
        """Return whether `fail_fast` ends the hand-out; if so, end what has failed and take back the rest."""
        if not (self.run.policy.fail_fast and self.run.tally.out_of_reach(self.run.policy.max_failed_ratio)):
            return False
        self._stopped = True
        for job in [*self._waiting.drain(), *(retry[2] for retry in self._retries)]:
            self._give_up(job)
        self._retries.clear()
        self._take_back()
        return True

    def _take_back(self) -> None:
        """Cancel what no worker has begun with."""
        for future in list(self._in_pool.values()):
            future.cancel()

    def _give_up(self, job: Job) -> None:
        """End a unit whose next attempt is not made; one that has had none stays as it is."""
        if job.last is not None:
            self._end(job, job.last)

    def _window(self) -> float:
        """How many units this step may have in the pool."""
        if self.run.policy.strategy != "auto":
            return math.inf
        # Two for each worker keep it busy while a reply travels; more would let one record hold up others.
        return max(1, math.ceil(2 * self.run.pool.workers / self.run.tally.records_in_progress))

    def _take_news(self) -> None:
        timeout = max(0.0, self._retries[0][0] - time.monotonic()) if self._retries else None
        try:
            news = self._news.get(timeout=timeout)
        except Empty:
            return
        if isinstance(news, UnitLog):
            if self.run.on_log:
                self.run.on_log(news)
            return
        job, future = news
        del self._in_pool[id(job)]
        self._waiting.release(job)
        if self._stopped and future.cancelled():
            job.attempts -= 1
            self._give_up(job)
        else:
            self._settle(job, future.result())

    def _settle(self, job: Job, reply: UnitReply) -> None:
        job.seconds += reply.seconds
        if reply.status == "succeeded" and reply.fanout is not None and self.run.is_last:
            message = (
                f"Stage {self.run.stage.name} returned a Fanout, but no stage follows; add one to `stages`."
            )
            reply = UnitReply("failed", reply.seconds, error=UnitError("InvalidRecordError", message))
        elif reply.status != "succeeded" and not reply.final and job.attempts < self.run.policy.max_attempts:
            delay = min(self.run.policy.retry_delay_s * 2 ** (job.attempts - 1), LONGEST_DELAY_S)
            due = time.monotonic() + delay * random.uniform(0.5, 1.5)
            job.last = reply
            heapq.heappush(self._retries, (due, id(job), job))
            return
        self._end(job, reply)

    def _end(self, job: Job, reply: UnitReply) -> None:
        """Note that *reply* is the last of a unit: also where `fail_fast` denies it another attempt."""
        job.ended = Ended(reply, job.attempts, job.seconds)
        if self.run.memory is not None:
            self.run.memory.remember(self.run, job, job.ended)
        if self.run.is_last or reply.status != "succeeded":
            self.run.tally.count(succeeded=reply.status == "succeeded")
