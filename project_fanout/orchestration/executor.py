"""The executor of a fan-out: steps in threads of the run's process, mapped steps while the list grows."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import dagster as dg

from project_fanout.engine.policy import available_cpus
from project_fanout.orchestration.event_log import open_event_log
from project_fanout.orchestration.incremental import IncrementalExecution
from project_fanout.orchestration.internals import (
    DagsterEvent,
    DagsterExecutionInterruptedError,
    EngineEventData,
    ErrorSource,
    ExecuteRunWithPlanIterable,
    ExecutionPlan,
    ExecutionStep,
    InstanceConcurrencyContext,
    PlanExecutionContext,
    PlanExecutionContextManager,
    PlanOrchestrationContext,
    RetryMode,
    SerializableErrorInfo,
    StepExecutionContext,
    StepFailureData,
    _trigger_hook,
    capture_interrupts,
    create_compute_log_file_key,
    dagster_event_sequence_for_step,
    get_retries_config,
    get_tag_concurrency_limits_config,
    pop_captured_interrupt,
    serializable_error_info_from_exc_info,
)
from project_fanout.orchestration.output_capture import captured_output
from project_fanout.orchestration.step_logs import StepLogManager
from project_fanout.orchestration.step_resources import SharedResourcesBuilder
from project_fanout.orchestration.step_threads import Ended, StepThreads
from project_fanout.orchestration.telemetry import telemetry_ids_read_once

#: How often the loop looks for an interrupt while no step reports anything.
_TURN_S = 0.25
#: How long steps get to end after an interrupt: first once the resources are gone, which releases a
#: step that waits for a worker; then once the interrupt has been raised in them. Together below the
#: 5 s after which nothing of a cancelled run may be left.
_END_S, _INTERRUPTED_END_S = 2.0, 1.5


def default_max_concurrent() -> int:
    """Return how many steps run at once unless the run config says otherwise.

    A step thread of a fan-out mostly waits for pool workers. One record per CPU would do, were it not
    for the 20-30 ms in which a record starts or ends and has no unit in the pool: with two records
    per CPU the pool stays busy meanwhile. The 4 are for small machines, where a trigger and a collect
    take a share too.
    """
    return 2 * available_cpus() + 4


@dg.executor(
    name="fanout",
    config_schema={
        "max_concurrent": dg.Field(
            dg.Noneable(dg.Int),
            default_value=None,
            description="Most steps at once, 1 or more. Default: twice the CPUs this process may use, plus 4.",
        ),
        "retries": get_retries_config(),
        "tag_concurrency_limits": get_tag_concurrency_limits_config(),
    },
)
def fanout_executor(init_context: dg.InitExecutorContext) -> "FanoutExecutor":
    """Run steps in threads of the run's process, mapped steps as soon as their item is stored.

    The work itself belongs in a process pool that the steps share: Python code of two steps does not
    run at the same time. Config, as Dagster's own executors take it::

        execution:
          config:
            max_concurrent: 8
            retries: {enabled: {}}
            tag_concurrency_limits: [{key: database, value: redshift, limit: 4}]
    """
    config: Mapping[str, Any] = init_context.executor_config
    max_concurrent = config["max_concurrent"]
    retries = RetryMode.from_config(config["retries"])
    assert retries is not None
    return FanoutExecutor(
        max_concurrent=default_max_concurrent() if max_concurrent is None else max_concurrent,
        retries=retries,
        tag_concurrency_limits=config.get("tag_concurrency_limits"),
    )


class FanoutExecutor(dg.Executor):
    """See `fanout_executor`.

    Args:
        max_concurrent: most steps at once, 1 or more.
        retries: whether a step that asks for a retry gets one.
        tag_concurrency_limits: as Dagster's multiprocess executor takes them.

    Raises:
        ValueError: *max_concurrent* is less than 1.
    """

    def __init__(
        self,
        *,
        max_concurrent: int,
        retries: RetryMode = RetryMode.ENABLED,
        tag_concurrency_limits: list[dict[str, Any]] | None = None,
    ) -> None:
        if max_concurrent < 1:
            raise ValueError(
                f"max_concurrent is {max_concurrent}, accepted: 1 or more, or none for the default."
            )
        self._max_concurrent = max_concurrent
        self._retries = retries
        self._tag_concurrency_limits = tag_concurrency_limits or []

    @property
    def retries(self) -> RetryMode:
        return self._retries

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[DagsterEvent]:
        """Execute the plan; yield the run's events in the order in which they were stored."""
        step_keys = execution_plan.step_keys_to_execute
        yield DagsterEvent.engine_event(
            plan_context,
            f"Executing steps in up to {self._max_concurrent} threads (pid: {os.getpid()})",
            EngineEventData.in_process(os.getpid(), step_keys),
        )
        begin = time.monotonic()
        loop = _RunLoop(plan_context, self._max_concurrent, self._tag_concurrency_limits)
        instance = plan_context.instance
        with open_event_log(instance, plan_context.run_id), telemetry_ids_read_once(instance):
            yield from self._execute(plan_context, execution_plan, loop)
        yield DagsterEvent.engine_event(
            plan_context,
            f"Finished steps in threads (pid: {os.getpid()}) in {time.monotonic() - begin:.2f}s",
            EngineEventData.in_process(os.getpid(), step_keys),
        )

    def _execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan, loop: "_RunLoop"
    ) -> Iterator[DagsterEvent]:
        try:
            yield from ExecuteRunWithPlanIterable(
                execution_plan=execution_plan,
                iterator=loop.run,
                execution_context_manager=PlanExecutionContextManager(
                    job=plan_context.job,
                    retry_mode=plan_context.retry_mode,
                    execution_plan=execution_plan,
                    run_config=plan_context.run_config,
                    dagster_run=plan_context.dagster_run,
                    instance=plan_context.instance,
                    raise_on_error=plan_context.raise_on_error,
                    output_capture=plan_context.output_capture,
                    step_dependency_config=self.step_dependency_config,
                ),
            )
        except GeneratorExit:
            for _ in loop.end_steps():
                pass
            raise
        except BaseException:
            # The resources have been torn down: a step that waited for one has been released. A second
            # signal now must not cut off what is left to write.
            with capture_interrupts():
                yield from loop.end_steps()
            raise


class _RunLoop:
    """Starts the steps of one run and takes their events."""

    def __init__(
        self,
        plan_context: PlanOrchestrationContext,
        max_concurrent: int,
        tag_concurrency_limits: list[dict[str, Any]],
    ) -> None:
        self._plan_context = plan_context
        self._max_concurrent = max_concurrent
        self._tag_concurrency_limits = tag_concurrency_limits
        self._threads: StepThreads[DagsterEvent] = StepThreads(plan_context.run_id)
        self._contexts: dict[str, StepExecutionContext] = {}
        self._execution: IncrementalExecution | None = None

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
            concurrency = stack.enter_context(
                InstanceConcurrencyContext(job_context.instance, job_context.dagster_run)
            )
            execution = stack.enter_context(
                IncrementalExecution(
                    execution_plan,
                    job_context.retry_mode,
                    max_concurrent=self._max_concurrent,
                    tag_concurrency_limits=self._tag_concurrency_limits,
                    instance_concurrency_context=concurrency,
                )
            )
            self._execution = execution
            capture = stack.enter_context(ExitStack())
            yield from self._capture_output(capture, job_context, execution_plan)
            yield from self._turns(job_context, execution)
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
                    execution.handle_event(report)
                    continue
                self._contexts.pop(step_key)
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
        self._threads.start(step.key, partial(_step_events, step_context))

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
        not even end then, since it waits in C code, keeps its thread; that dies with the process.
        """
        open_steps = set(self._contexts)
        for interrupt, seconds in ((None, _END_S), (DagsterExecutionInterruptedError, _INTERRUPTED_END_S)):
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


def _step_events(step_context: StepExecutionContext) -> Iterator[DagsterEvent]:
    """Execute a step in the calling thread; yield its events, then those of its hooks."""
    # An event loop belongs to one thread: async ops cannot share the run's.
    loop = _LazyEventLoop()
    step_context._event_loop = loop  # type: ignore[assignment]  # it is one when it is asked
    events: list[DagsterEvent] = []
    try:
        for event in dagster_event_sequence_for_step(step_context):
            events.append(event)
            yield event
    finally:
        loop.close()
    yield from _trigger_hook(step_context, events)


class _LazyEventLoop:
    """The asyncio event loop of one step, made when an async op asks for it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def __getattr__(self, name: str) -> Any:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return getattr(self._loop, name)

    def close(self) -> None:
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


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
