"""The executor: steps in threads of the run's process, mapped steps while the list grows."""

import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from project_fanout.engine.container import available_cpus
from project_fanout.orchestration.executor.event_log import open_event_log
from project_fanout.orchestration.executor.garbage import rare_collections
from project_fanout.orchestration.executor.run_loop import RunLoop
from project_fanout.orchestration.executor.telemetry import telemetry_ids_read_once
from project_fanout.orchestration.internals import (
    DagsterEvent,
    EngineEventData,
    ExecuteRunWithPlanIterable,
    ExecutionPlan,
    PlanExecutionContextManager,
    PlanOrchestrationContext,
    RetryMode,
    StepDependencyConfig,
    capture_interrupts,
    get_retries_config,
    get_step_dependency_config_field,
    get_tag_concurrency_limits_config,
)

#: Tag of an op whose steps do little but wait: so many of them may run at once for each CPU, by default.
STEPS_PER_CPU = "fanout/steps_per_cpu"
_STEPS_PER_CPU = 2


def default_max_concurrent(steps_per_cpu: int = _STEPS_PER_CPU) -> int:
    """Return how many steps run at once unless the run config says otherwise.

    A step thread of a fan-out mostly waits for pool workers. One record per CPU would do, were it not
    for the 20-30 ms in which a record starts or ends and has no unit in the pool: with two records
    per CPU the pool stays busy meanwhile. The 4 are for small machines, where a trigger and a collect
    take a share too.
    """
    return steps_per_cpu * available_cpus() + 4


@dg.executor(
    name="fanout",
    config_schema={
        "max_concurrent": dg.Field(
            dg.Noneable(dg.Int),
            default_value=None,
            description="Most steps at once, 1 or more. Default: twice the CPUs this process may use, plus 4; where an "
            "op has the tag fanout/steps_per_cpu, as that of a coroutine stage has, so many times in place of twice.",
        ),
        "retries": get_retries_config(),
        "tag_concurrency_limits": get_tag_concurrency_limits_config(),
        "step_dependency_config": get_step_dependency_config_field(),
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
            step_dependency_config: {require_upstream_step_success: false}
    """
    config: Mapping[str, Any] = init_context.executor_config
    max_concurrent = config["max_concurrent"]
    retries = RetryMode.from_config(config["retries"])
    assert retries is not None
    return FanoutExecutor(
        max_concurrent=max_concurrent,
        retries=retries,
        tag_concurrency_limits=config.get("tag_concurrency_limits"),
        step_dependency_config=StepDependencyConfig.from_config(config.get("step_dependency_config")),
    )


class FanoutExecutor(dg.Executor):
    """See `fanout_executor`.

    Args:
        max_concurrent: most steps at once, 1 or more; None for the default.
        retries: whether a step that asks for a retry gets one.
        tag_concurrency_limits: as Dagster's multiprocess executor takes them.
        step_dependency_config: whether a step waits for the success of those that it depends on, or
            for their outputs alone; as Dagster's executors take it.

    Raises:
        ValueError: *max_concurrent* is less than 1.
    """

    def __init__(
        self,
        *,
        max_concurrent: int | None = None,
        retries: RetryMode = RetryMode.ENABLED,
        tag_concurrency_limits: list[dict[str, Any]] | None = None,
        step_dependency_config: StepDependencyConfig = StepDependencyConfig.default(),  # noqa: B008
    ) -> None:
        if max_concurrent is not None and max_concurrent < 1:
            raise ValueError(
                f"max_concurrent is {max_concurrent}, accepted: 1 or more, or none for the default."
            )
        self._max_concurrent = max_concurrent
        self._retries = retries
        self._tag_concurrency_limits = tag_concurrency_limits or []
        self._step_dependency_config = step_dependency_config

    @property
    def retries(self) -> RetryMode:
        return self._retries

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        return self._step_dependency_config

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[DagsterEvent]:
        """Execute the plan; yield the run's events in the order in which they were stored."""
        step_keys = execution_plan.step_keys_to_execute
        max_concurrent = self._max_concurrent or _default_for(execution_plan)
        yield DagsterEvent.engine_event(
            plan_context,
            f"Executing steps in up to {max_concurrent} threads (pid: {os.getpid()})",
            EngineEventData.in_process(os.getpid(), step_keys),
        )
        begin = time.monotonic()
        loop = RunLoop(
            plan_context, max_concurrent, self._tag_concurrency_limits, self._step_dependency_config
        )
        instance = plan_context.instance
        with (
            open_event_log(instance, plan_context.run_id, loop.interrupted),
            telemetry_ids_read_once(instance),
            rare_collections(),
        ):
            yield from self._execute(plan_context, execution_plan, loop)
        yield DagsterEvent.engine_event(
            plan_context,
            f"Finished steps in threads (pid: {os.getpid()}) in {time.monotonic() - begin:.2f}s",
            EngineEventData.in_process(os.getpid(), step_keys),
        )

    def _execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan, loop: RunLoop
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
                    scoped_resources_builder_cm=loop.init_resources,
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


def _default_for(execution_plan: ExecutionPlan) -> int:
    wishes = [
        int(tags[STEPS_PER_CPU])
        for step in execution_plan.steps
        if STEPS_PER_CPU in (tags := step.tags or {}) and tags[STEPS_PER_CPU].isdecimal()
    ]
    return default_max_concurrent(max([_STEPS_PER_CPU, *wishes]))
