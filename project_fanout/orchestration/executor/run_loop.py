"""The loop of one run: starts steps in threads, takes their events, and ends them when the run ends early."""

import asyncio
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import dagster as dg

from project_fanout.orchestration.executor.incremental import IncrementalExecution
from project_fanout.orchestration.executor.output_capture import captured_output
from project_fanout.orchestration.executor.pool_slots import PoolSlots
from project_fanout.orchestration.executor.step_children import StepChildren
from project_fanout.orchestration.executor.step_events import step_events
from project_fanout.orchestration.executor.step_logs import StepLogManager
from project_fanout.orchestration.executor.step_loop import StepLoop
from project_fanout.orchestration.executor.step_resources import SharedResourcesBuilder
from project_fanout.orchestration.executor.step_threads import Ended, StepThreads
from project_fanout.orchestration.internals import (
    DagsterEvent,
    DagsterExecutionInterruptedError,
    EngineEventData,
    ErrorSource,
    ExecutionPlan,
    ExecutionStep,
    PlanExecutionContext,
    PlanOrchestrationContext,
    SerializableErrorInfo,
    StepDependencyConfig,
    StepExecutionContext,
    StepFailureData,
    create_compute_log_file_key,
    pop_captured_interrupt,
    resource_initialization_manager,
    serializable_error_info_from_exc_info,
)

#: How often the loop looks for an interrupt while no step reports anything.
_TURN_S = 0.25
#: How long steps get to end after an interrupt: first once the resources are gone, which releases a
#: step that waits for a worker; then once the interrupt has been raised in them. Together below the
#: 5 s after which nothing of a cancelled run may be left.
_END_S, _INTERRUPTED_END_S = 2.0, 1.5


class RunLoop:
    """Starts the steps of one run and takes their events.

    Args:
        plan_context: the run.
        max_concurrent: most steps at once, 1 or more.
        tag_concurrency_limits: as Dagster's multiprocess executor takes them.
        step_dependency_config: as Dagster's executors take it.
    """

    def __init__(
        self,
        plan_context: PlanOrchestrationContext,
        max_concurrent: int,
        tag_concurrency_limits: list[dict[str, Any]],
        step_dependency_config: StepDependencyConfig,
    ) -> None:
        self._plan_context = plan_context
        self._max_concurrent = max_concurrent
        self._tag_concurrency_limits = tag_concurrency_limits
        self._step_dependency_config = step_dependency_config
        self._threads: StepThreads[DagsterEvent] = StepThreads(plan_context.run_id)
        self._contexts: dict[str, StepExecutionContext] = {}
        self._up_for_retry: dict[str, DagsterEvent] = {}
        self._execution: IncrementalExecution | None = None
        #: Set once an interrupt has come.
        self.interrupted = threading.Event()
        self._event_loop: StepLoop | None = None
        self._children: StepChildren | None = None

    def init_resources(self, *, event_loop: asyncio.AbstractEventLoop, **arguments: Any) -> Any:
        """Initialise the run's resources as Dagster does; from now on its event loop has a thread of its own."""
        self._event_loop = StepLoop(event_loop, self._plan_context.run_id)
        return resource_initialization_manager(event_loop=event_loop, **arguments)

    def run(self, job_context: PlanExecutionContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        """Yield the events of every step that this run executes.

        Raises:
            DagsterExecutionInterruptedError: an interrupt has come; steps may still run.
        """
        # Every step's context takes these two from the run's.
        job_context._log_manager = StepLogManager.over(job_context.log)
        job_context._execution_data = job_context._execution_data._replace(
            scoped_resources_builder=SharedResourcesBuilder.over(job_context.scoped_resources_builder)
        )
        with ExitStack() as stack:
            concurrency = stack.enter_context(PoolSlots(job_context.instance, job_context.dagster_run))
            execution = stack.enter_context(
                IncrementalExecution(
                    execution_plan,
                    job_context.retry_mode,
                    max_concurrent=self._max_concurrent,
                    tag_concurrency_limits=self._tag_concurrency_limits,
                    instance_concurrency_context=concurrency,
                    step_dependency_config=self._step_dependency_config,
                )
            )
            self._execution = execution
            capture = stack.enter_context(ExitStack())
            yield from self._capture_output(capture, job_context, execution_plan)
            # What captures the output is not a step's.
            self._children = StepChildren()
            try:
                yield from self._turns(job_context, execution)
            except BaseException:
                # Before the resources go: what an op awaits, it awaits of one of them.
                if self._event_loop is not None:
                    self._event_loop.interrupt()
                raise
            try:
                capture.close()
            except Exception:  # whatever a compute log manager raises: the run goes on
                yield _capture_error(job_context, "Exception while cleaning up compute log capture")

    def _turns(
        self, job_context: PlanExecutionContext, execution: IncrementalExecution
    ) -> Iterator[DagsterEvent]:
        raised: BaseException | None = None
        while True:
            yield from self._check_for_interrupts(job_context, execution)
            if raised is None:
                for step in execution.get_steps_to_execute(limit=self._max_concurrent - len(self._threads)):
                    self._start(job_context, execution, step)
                yield from execution.concurrency_event_iterator(job_context)
            if not self._threads and (raised is not None or execution.is_complete):
                break
            for step_key, report in self._threads.reports(self._patience(execution)):
                if not isinstance(report, Ended):
                    yield report
                    self._take_event(execution, step_key, report)
                    continue
                self._attempt_ended(execution, step_key)
                if report.error is not None:
                    raised = raised or report.error
                    if not job_context.raise_on_error:
                        raise report.error
                execution.verify_complete(job_context, step_key)
            yield from execution.plan_events_iterator(job_context)
            for producer_key, count in execution.pop_not_started():
                job_context.log.info(
                    "%s has failed: %d mapped steps that had not started will not be executed.",
                    producer_key,
                    count,
                )
        if raised is not None:
            raise raised

    def _take_event(self, execution: IncrementalExecution, step_key: str, event: DagsterEvent) -> None:
        if event.is_step_up_for_retry:
            # Not before this attempt's thread has ended, which has hooks to run: its end would be taken
            # for that of the next attempt.
            self._up_for_retry[step_key] = event
        else:
            execution.handle_event(event)

    def _attempt_ended(self, execution: IncrementalExecution, step_key: str) -> None:
        self._contexts.pop(step_key)
        if (retry := self._up_for_retry.pop(step_key, None)) is not None:
            execution.handle_event(retry)

    def _patience(self, execution: IncrementalExecution) -> float:
        """Return how long to wait for a report: until a retry is due, an interrupt's turn at most."""
        if not self._threads and not execution.has_waiting_steps:
            return 0.0
        until_retry = execution.seconds_to_next_retry()
        return _TURN_S if until_retry is None else min(_TURN_S, until_retry)

    def _check_for_interrupts(
        self, job_context: PlanExecutionContext, execution: IncrementalExecution
    ) -> Iterator[DagsterEvent]:
        # Signals, and with them the flag that Dagster keeps for the process, belong to the main thread.
        if threading.current_thread() is not threading.main_thread() or not pop_captured_interrupt():
            return
        self.interrupted.set()
        execution.mark_interrupted()
        yield DagsterEvent.engine_event(
            job_context,
            "Received a termination signal: no further step starts, resources are torn down",
            EngineEventData.interrupted(self._threads.step_keys),
        )
        raise DagsterExecutionInterruptedError("The run was interrupted.")

    def _start(
        self, job_context: PlanExecutionContext, execution: IncrementalExecution, step: ExecutionStep
    ) -> None:
        step_context = job_context.for_step(step, execution.get_known_state())
        missing = [
            key for key in step_context.required_resource_keys if not hasattr(step_context.resources, key)
        ]
        if missing:
            raise dg.DagsterInvariantViolationError(f"Step {step.key} lacks the resources {missing}.")
        self._contexts[step.key] = step_context
        self._threads.start(step.key, partial(step_events, step_context))

    def _capture_output(
        self, capture: ExitStack, job_context: PlanExecutionContext, execution_plan: ExecutionPlan
    ) -> Iterator[DagsterEvent]:
        """Send what the process prints to the run's compute logs, as the in-process executor does."""
        compute_logs = job_context.instance.compute_log_manager
        step_keys = [step.key for step in execution_plan.get_steps_to_execute_in_topo_order()]
        file_key = create_compute_log_file_key()
        log_key = compute_logs.build_log_key_for_run(job_context.run_id, file_key)
        try:
            log_context = capture.enter_context(captured_output(compute_logs, log_key, job_context.run_id))
            yield DagsterEvent.capture_logs(job_context, step_keys, log_key, log_context)
        except Exception:  # as above
            yield _capture_error(job_context, "Exception while setting up compute log capture")

    def end_steps(self) -> Iterator[DagsterEvent]:
        """End the steps that run when the run itself has ended early; yield a failure for each.

        Steps get `_END_S` to end by themselves, then the interrupt is raised in them. One that does
        not even end then, since it waits in C code, keeps its thread; that dies with the process. The processes
        that steps have started are ended: one that waits for them ends, too, and none outlives the run.
        """
        open_steps = set(self._contexts)
        for seconds, interrupt, to_children in (
            (_END_S, None, None),
            (_INTERRUPTED_END_S, DagsterExecutionInterruptedError, signal.SIGTERM),
            (_INTERRUPTED_END_S, None, signal.SIGKILL),
        ):
            if to_children and not (self._children and self._children.end(to_children)) and interrupt is None:
                break
            for step_key, report in self._threads.wait(seconds, interrupt):
                if isinstance(report, Ended):
                    continue
                yield report
                if report.is_step_failure or report.is_step_success:
                    open_steps.discard(step_key)
        for step_key in sorted(open_steps):
            step_context = self._contexts[step_key]
            if step_key in self._threads.step_keys:
                step_context.log.error(
                    "Step %s does not react to the interrupt: its thread goes on until what it waits "
                    "for returns or the process ends.",
                    step_key,
                )
            yield _interrupted_failure(step_context)
        for step_key in self._contexts:
            if self._execution is not None and self._execution.concurrency is not None:
                self._execution.concurrency.free_step(step_key)


def _capture_error(job_context: PlanExecutionContext, message: str) -> DagsterEvent:
    error = serializable_error_info_from_exc_info(sys.exc_info())
    return DagsterEvent.engine_event(job_context, message, EngineEventData(error=error))


def _interrupted_failure(step_context: StepExecutionContext) -> DagsterEvent:
    error = SerializableErrorInfo(
        message="DagsterExecutionInterruptedError: the run ended while this step was running.\n",
        stack=[],
        cls_name="DagsterExecutionInterruptedError",
    )
    failure = StepFailureData(error, None, ErrorSource.INTERRUPT)
    return DagsterEvent.step_failure_event(step_context, failure)
