"""Which step of a run may start when: mapped steps while their producer still yields."""

import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from project_fanout.orchestration.executor.producers import Item, Producer, find_producers
from project_fanout.orchestration.executor.step_keys import StepKeys
from project_fanout.orchestration.executor.step_queue import LaneKey, StepQueue, Verdict
from project_fanout.orchestration.executor.step_waits import StepWaits
from project_fanout.orchestration.internals import (
    GLOBAL_CONCURRENCY_TAG,
    PRIORITY_TAG,
    ActiveExecution,
    DagsterEvent,
    ExecutionPlan,
    ExecutionStep,
    HandledOutputData,
    InstanceConcurrencyContext,
    KnownExecutionState,
    RetryMode,
    StepDependencyConfig,
    StepOutputHandle,
    TagConcurrencyLimitsCounter,
    UnresolvedCollectExecutionStep,
)


class IncrementalExecution(ActiveExecution):
    """Dagster's own state machine, with two differences.

    **A mapped step waits for its item, not for its producer.** It may start once the item's value has
    been handled by the IO manager; STEP_OUTPUT comes before that. When the producer fails, steps that
    have not started never do. When it is retried, they wait until the new attempt has stored their
    item again, those that have run are not run again, and the attempt itself waits for those that
    run now, since it overwrites what they read. Everything else, collect and the steps after it
    too, follows Dagster's rule: all steps that it depends on have ended or, without
    `require_upstream_step_success`, all outputs that it takes have been stored.

    **No turn walks all steps.** Pending steps are found through the step that they wait for, and
    those that may start wait in lanes.

    Args:
        execution_plan: the plan; mapped steps are added to it as their items come.
        retry_mode: whether a step that asks for a retry gets one.
        max_concurrent: most steps in flight at once.
        tag_concurrency_limits: as Dagster's executors take them.
        instance_concurrency_context: claims slots of the instance's concurrency pools.
        step_dependency_config: whether a step waits for the end of those that it depends on.
    """

    def __init__(
        self,
        execution_plan: ExecutionPlan,
        retry_mode: RetryMode,
        *,
        max_concurrent: int,
        tag_concurrency_limits: list[dict[str, Any]],
        instance_concurrency_context: InstanceConcurrencyContext,
        step_dependency_config: StepDependencyConfig,
    ) -> None:
        self._ready = False  # the base class calls _update from its constructor
        super().__init__(
            execution_plan,
            retry_mode,
            max_concurrent=max_concurrent,
            tag_concurrency_limits=tag_concurrency_limits,
            instance_concurrency_context=instance_concurrency_context,
            step_dependency_config=step_dependency_config,
        )
        self._max_in_flight = max_concurrent
        self._success: set[str] = StepKeys()
        self._failed: set[str] = StepKeys()
        self._skipped: set[str] = StepKeys()
        self._abandoned: set[str] = StepKeys()
        self._to_execute = set(execution_plan.step_keys_to_execute)
        self._queue = StepQueue()
        self._waits = StepWaits()
        self._by_output = not step_dependency_config.require_upstream_step_success
        #: By step, the output whose STEP_OUTPUT has come and whose value may not have been stored yet.
        self._storing: dict[str, StepOutputHandle] = {}
        self._stored = set(self._step_outputs)
        self._attempted: set[str] = set()
        self._not_started: list[tuple[str, int]] = []
        self._item_of: dict[str, tuple[str, Item]] = {}
        self._producers, self._depths = find_producers(execution_plan)

        known, self._pending = self._pending, {}
        # Steps behind a collect: what the collect depends on is known when its producer has ended.
        self._held = {key: None for key in execution_plan.executable_map if key not in known}
        for step_key, deps in known.items():
            self._add_pending(step_key, deps)
        self._ready = True
        self._update()

    # ---- what the loop asks ------------------------------------------------------------------

    @property
    def is_complete(self) -> bool:
        # Not the base class's: a claim on a concurrency pool that a dropped step has left pending would
        # keep the run open for ever. The concurrency context gives such claims back when it is left.
        return not (
            self._pending
            or self._in_flight
            or self._queue
            or self._pending_skip
            or self._pending_abandon
            or self._waiting_to_retry
            or self._new_dynamic_mappings
        )

    def get_steps_to_execute(self, limit: int | None = None) -> Sequence[ExecutionStep]:
        self._update()
        room = self._max_in_flight - len(self._in_flight)
        if limit is not None:
            room = min(room, limit)
        if room <= 0 or not self._queue:
            return []
        limits = self._tag_limits()
        batch: list[ExecutionStep] = []
        for step_key in self._queue.take(room, lambda key: self._judge(key, limits)):
            step = self.get_step_by_key(step_key)
            if limits is not None:
                limits.update_counters_with_launched_item(step)
            self._in_flight.add(step_key)
            if (found := self._item_of.get(step_key)) is not None:
                self._producers[found[0]].in_flight += 1
            self._prep_for_dynamic_outputs(step)
            batch.append(step)
        return batch

    def get_known_state(self) -> KnownExecutionState:
        # Not the constructor: it copies and type-checks every mapping key and output, for each step.
        # Steps see the live sets, which only grow.
        return self._plan.known_state._replace(
            previous_retry_attempts=self._retry_state.snapshot_attempts(),
            dynamic_mappings=self._completed_dynamic_outputs,
            ready_outputs=self._step_outputs,
        )

    def pop_not_started(self) -> list[tuple[str, int]]:
        """Return, once, the producers that have failed and how many mapped steps that kept from starting."""
        not_started, self._not_started = self._not_started, []
        return not_started

    @property
    def concurrency(self) -> InstanceConcurrencyContext | None:
        """The claims of this run on the instance's concurrency pools."""
        return self._instance_concurrency_context

    @property
    def has_waiting_steps(self) -> bool:
        """Whether steps wait for a slot of a concurrency pool, a limit or the time of their retry."""
        return bool(self._queue or self._waiting_to_retry)

    def seconds_to_next_retry(self) -> float | None:
        """Return when the next step is to be tried again, None if no step waits for that."""
        if not self._waiting_to_retry:
            return None
        return max(0.0, min(self._waiting_to_retry.values()) - time.time())

    # ---- what the steps report ---------------------------------------------------------------

    def handle_event(self, dagster_event: DagsterEvent) -> None:
        step_key = dagster_event.step_key or ""
        if (storing := self._storing.get(step_key)) is not None:
            # A step goes on to its next output when the last one has been stored; an output of type
            # Nothing has no HANDLED_OUTPUT.
            data = dagster_event.event_specific_data
            handled = isinstance(data, HandledOutputData) and data.output_name == storing.output_name
            if handled or dagster_event.is_successful_output or dagster_event.is_step_success:
                del self._storing[step_key]
                self._output_stored(storing)
            elif dagster_event.is_step_failure or dagster_event.is_step_up_for_retry:
                del self._storing[step_key]
        super().handle_event(dagster_event)
        if dagster_event.is_successful_output:
            self._storing[step_key] = dagster_event.step_output_data.step_output_handle

    def mark_success(self, step_key: str) -> None:
        super().mark_success(step_key)
        self._ended(step_key)

    def mark_skipped(self, step_key: str) -> None:
        super().mark_skipped(step_key)
        self._ended(step_key)

    def mark_failed(self, step_key: str) -> None:
        super().mark_failed(step_key)
        self._producer_failed(step_key)
        self._ended(step_key)

    def mark_abandoned(self, step_key: str) -> None:
        super().mark_abandoned(step_key)
        self._producer_failed(step_key)
        self._ended(step_key)

    def mark_up_for_retry(self, step_key: str, at_time: float | None = None) -> None:
        # Without a time the base class computes the dependencies of the whole plan anew.
        super().mark_up_for_retry(step_key, time.time() if at_time is None else at_time)
        self._attempted.add(step_key)
        if (producer := self._producers.get(step_key)) is not None:
            producer.stored.clear()
            direct = {key for item in producer.steps for key in self._direct_steps(producer, item)}
            for waiting in self._queue.remove(direct):
                self._enqueue(waiting)

    def _mark_complete(self, step_key: str) -> None:
        super()._mark_complete(step_key)
        if (found := self._item_of.get(step_key)) is not None:
            self._producers[found[0]].in_flight -= 1

    # ---- moving steps ------------------------------------------------------------------------

    def _update(self) -> None:
        if not self._ready:
            return
        if self._new_dynamic_mappings:
            self._new_dynamic_mappings = False
            self._resolve_completed()
        for step_key in self._waits.pop_freed():
            deps = self._pending.pop(step_key, None)
            if deps is None:
                continue
            if self._should_skip_step(step_key):
                self._pending_skip.append(step_key)
            elif self._is_barred(step_key, deps):
                self._pending_abandon.append(step_key)
            else:
                self._enqueue(step_key)
        if self._waiting_to_retry:
            now = time.time()
            for step_key in [key for key, at_time in self._waiting_to_retry.items() if now >= at_time]:
                del self._waiting_to_retry[step_key]
                self._enqueue(step_key)

    def _add_pending(self, step_key: str, deps: set[str]) -> None:
        self._pending[step_key] = deps
        unmet = {dep for dep in deps if not self._has_ended(dep)}
        if (found := self._item_of.get(step_key)) is not None:
            unmet.discard(found[0])
        self._waits.add(step_key, self._unmet_outputs(step_key, unmet) if self._by_output else unmet)

    def _unmet_outputs(self, step_key: str, unmet: set[str]) -> set[Hashable]:
        """Return what *step_key* waits for of the steps in *unmet*: their outputs, or their end.

        The end of those that order it and give it no output, as with views; and of the producer of a
        mapped step that takes another output of it too, as under Dagster's executors: until then its
        item can be taken back.
        """
        handles = [handle for handle in self._taken(step_key) if handle.step_key in unmet]
        by_end = unmet - {handle.step_key for handle in handles}
        by_end |= {handle.step_key for handle in handles if handle.mapping_key}
        return by_end | {
            handle for handle in handles if handle.step_key not in by_end and handle not in self._stored
        }

    def _taken(self, step_key: str) -> Iterator[StepOutputHandle]:
        for step_input in self.get_step_by_key(step_key).step_inputs:
            yield from step_input.get_step_output_handle_dependencies()

    def _is_barred(self, step_key: str, deps: set[str]) -> bool:
        """Return whether *step_key* can never start, since something that it depends on has failed."""
        failed = {dep for dep in deps if dep in self._failed or dep in self._abandoned}
        if not self._by_output or not failed:
            return bool(failed)
        handles = [handle for handle in self._taken(step_key) if handle.step_key in failed]
        return any(handle not in self._stored for handle in handles) or bool(
            failed - {handle.step_key for handle in handles}
        )

    def _has_ended(self, step_key: str) -> bool:
        return (
            step_key in self._success
            or step_key in self._failed
            or step_key in self._skipped
            or step_key in self._abandoned
        )

    def _ended(self, step_key: str) -> None:
        if (producer := self._producers.get(step_key)) is not None:
            producer.ended = True
        self._waits.end(step_key)
        if self._by_output:
            for output in self.get_step_by_key(step_key).step_outputs:
                self._output_ended(StepOutputHandle(step_key, output.name))

    def _output_stored(self, handle: StepOutputHandle) -> None:
        producer = self._producers.get(handle.step_key)
        if producer is not None and handle.mapping_key and handle.output_name in producer.mapped:
            self._item_stored(handle.step_key, (handle.output_name, handle.mapping_key))
        if self._by_output:
            self._stored.add(handle)
            self._waits.end(handle)

    def _output_ended(self, handle: StepOutputHandle) -> None:
        """Note that *handle* will not be stored any more, if it has not been."""
        if handle not in self._stored:
            # What lacks this output will never start, whatever else it waits for.
            for step_key in self._waits.waiting_for(handle):
                if self._should_skip_step(step_key) or self._is_barred(step_key, self._pending[step_key]):
                    self._waits.free(step_key)
        self._waits.end(handle)

    def _enqueue(self, step_key: str) -> None:
        """Let *step_key* start, or park it until its item is there."""
        if (found := self._item_of.get(step_key)) is not None:
            producer, item = self._producers[found[0]], found[1]
            if item not in producer.stored:
                if not producer.ended:
                    producer.parked.setdefault(item, []).append(step_key)
                return
        step = self.get_step_by_key(step_key)
        # Within a priority, steps further down a chain first: a record that is under way is finished
        # before the next one is begun.
        order = (self._sort_key_fn(step), -self._depths.get(str(step.node_handle), 0))
        limits = (step.pool, tuple(sorted(step.tags.items())), step_key in self._producers)
        self._queue.push(step_key, LaneKey(order, limits))

    def _judge(self, step_key: str, limits: TagConcurrencyLimitsCounter | None) -> Verdict:
        step = self.get_step_by_key(step_key)
        producer = self._producers.get(step_key)
        if producer is not None and producer.in_flight:
            return Verdict.WAIT
        if limits is not None and limits.is_blocked(step):
            return Verdict.BLOCK
        pool = step.pool or step.tags.get(GLOBAL_CONCURRENCY_TAG)
        if pool and self._instance_concurrency_context:
            try:
                priority = int(step.tags.get(PRIORITY_TAG, 0))
            except ValueError:
                priority = 0
            if not self._instance_concurrency_context.claim(pool, step_key, priority):
                return Verdict.WAIT
        return Verdict.TAKE

    def _tag_limits(self) -> TagConcurrencyLimitsCounter | None:
        if not self._tag_concurrency_limits:
            return None
        return TagConcurrencyLimitsCounter(
            self._tag_concurrency_limits, [self.get_step_by_key(key) for key in self._in_flight]
        )

    # ---- dynamic outputs ---------------------------------------------------------------------

    def _direct_steps(self, producer: Producer, item: Item) -> Iterable[str]:
        return (key for key in producer.steps[item] if key in self._item_of)

    def _item_stored(self, producer_key: str, item: Item) -> None:
        """Resolve the mapped steps of *item*, unless an earlier attempt did, and let them start."""
        producer = self._producers[producer_key]
        producer.stored.add(item)
        if item in producer.steps:
            for step_key in producer.parked.pop(item, ()):
                self._enqueue(step_key)
            return
        output, mapping_key = item
        steps = [
            step
            for unresolved in producer.mapped[output]
            for step in unresolved.resolve({producer_key: {output: [mapping_key]}})
        ]
        producer.steps[item] = [step.key for step in steps]
        for step in steps:
            self._introduce(step)
            if str(step.node_handle) in producer.direct:
                self._item_of[step.key] = (producer_key, item)
        for step in steps:
            self._offer(step.key)

    def _resolve_completed(self) -> None:
        """Resolve what waited for producers that have ended: collects, and mapped steps left over."""
        resolvable = self._plan.resolvable_map
        completed = self._completed_dynamic_outputs
        collects: list[str] = []
        for required in [keys for keys in resolvable if all(key in completed for key in keys)]:
            for handle in resolvable.pop(required):
                unresolved = self._plan.step_dict[handle]
                if (
                    isinstance(unresolved, UnresolvedCollectExecutionStep)
                    and unresolved.key in self._to_execute
                ):
                    step = unresolved.resolve(completed)
                    self._introduce(step)
                    collects.append(step.key)
            for producer_key in required & self._producers.keys():
                self._settle(producer_key, completed[producer_key])
        for step_key in collects:
            self._offer(step_key)
        moved = bool(collects)
        while moved:
            moved = False
            for step_key in list(self._held):
                if (deps := self._known_deps(step_key)) is not None:
                    del self._held[step_key]
                    self._add_pending(step_key, deps)
                    moved = True

    def _settle(self, producer_key: str, mappings: Mapping[str, Sequence[str] | None]) -> None:
        """Bring the mapped steps in line with what the producer's last attempt has yielded."""
        producer = self._producers[producer_key]
        final = {(output, key) for output in producer.mapped for key in mappings.get(output) or ()}
        for output in producer.mapped:
            for key in mappings.get(output) or ():
                if (output, key) not in producer.stored:
                    self._item_stored(producer_key, (output, key))
        self._drop([key for item, keys in producer.steps.items() if item not in final for key in keys])
        producer.parked.clear()

    def _producer_failed(self, step_key: str) -> None:
        if (producer := self._producers.get(step_key)) is None:
            return
        dropped = self._drop([key for keys in producer.steps.values() for key in keys])
        dropped += sum(len(keys) for keys in producer.parked.values())
        producer.parked.clear()
        if dropped:
            self._not_started.append((step_key, dropped))

    def _drop(self, step_keys: list[str]) -> int:
        """Forget those of *step_keys* that have not been started; return how many."""
        dropped = len(self._queue.remove(set(step_keys) - self._attempted))
        for step_key in step_keys:
            if self._pending.pop(step_key, None) is not None:
                self._waits.forget(step_key)
                dropped += 1
            self._held.pop(step_key, None)
        return dropped

    def _introduce(self, step: ExecutionStep) -> None:
        self._plan.step_dict[step.handle] = step
        self._plan.step_dict_by_key[step.key] = step
        self._plan.executable_map[step.key] = step.handle

    def _offer(self, step_key: str) -> None:
        """Make *step_key* pending, or hold it while it depends on a step that is not resolved."""
        deps = self._known_deps(step_key)
        if deps is None:
            self._held[step_key] = None
        else:
            self._add_pending(step_key, deps)

    def _known_deps(self, step_key: str) -> set[str] | None:
        """Return what *step_key* depends on in this run, None if that is not resolved yet."""
        executable = self._plan.executable_map
        deps = self.get_step_by_key(step_key).get_execution_dependency_keys()
        if any(dep in self._held or (dep in self._to_execute and dep not in executable) for dep in deps):
            return None
        return {dep for dep in deps if dep in executable}
