"""The run config of a fork."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import dagster as dg

from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.engine.model import Record
from project_fanout.engine.policy import FanoutPolicy
from project_fanout.forks.actions import Actions
from project_fanout.forks.request import InvalidForkError, read_fork
from project_fanout.orchestration.run_config import InvalidRunConfigError, RunConfig, RunSettings

#: Run config beside that of the tasks function.
SHARED, POLICY = "params", "policy"

# A task that may fail is `optional`; the siblings of one that fails always finish.
_NOT_FOR_FORKS = ("max_failed_ratio", "fail_fast")


def as_given(
    *,
    dynamicTasks: Annotated[
        Any,
        "Tasks that may differ from each other: a list of {name, taskReferenceName}, or for a workflow "
        "{type: SUB_WORKFLOW, subWorkflowParam: {name, version}, taskReferenceName}; each with optional, "
        "retryCount, timeoutSeconds if need be.",
    ] = None,
    dynamicTasksInput: Annotated[Any, "Their inputs: a map from taskReferenceName to {input: value}."] = None,
    forkTaskName: Annotated[
        Any, "Alternatively, the name of one task, to be run for each of forkTaskInputs."
    ] = None,
    forkTaskType: Annotated[
        Any, "Type of that task: SIMPLE or CUSTOM, or SUB_WORKFLOW for a workflow."
    ] = None,
    forkTaskWorkflow: Annotated[Any, "Or the name of one workflow, to be run likewise."] = None,
    forkTaskWorkflowVersion: Annotated[Any, "Version of that workflow; by default the highest."] = None,
    forkTaskInputs: Annotated[Any, "A list of {input: value}, one for each task."] = None,
    optional: Annotated[
        Any, "Whether each of those tasks may fail; tasks of dynamicTasks have an optional of their own."
    ] = None,
    joinOn: Annotated[Any, "taskReferenceNames of the tasks to join; by default all."] = None,
) -> dict[str, Any]:
    """Fork into the tasks that the run config gives."""
    return dict(locals())


@dataclass(frozen=True, kw_only=True)
class ForkRunConfig(RunConfig):
    """What a fork accepts as run config: the params of its tasks function, `params` and `policy`.

    Args:
        tasks: the tasks function.
        actions: what tasks may name.
    """

    tasks: Callable[..., Any]
    actions: Actions

    def schema(self) -> dict[str, dg.Field]:
        """Return the Dagster config schema."""
        return {
            **self.param_fields(),
            SHARED: dg.Field(
                dict,
                is_required=False,
                default_value={},
                description="Inputs shared by all tasks that take them and do not set them.",
            ),
            POLICY: self.policy_field(leave_out=_NOT_FOR_FORKS),
        }

    def _read(self, config: Mapping[str, Any]) -> RunSettings:
        """Return the settings, with the shared inputs as the param `params`; refuse a fork that cannot be started."""
        problems = []
        try:
            own = super()._read(config)
        except InvalidRunConfigError as error:
            if self.tasks is not as_given:
                raise
            problems.append(str(error))
            own = RunSettings(self.params.read(self._params_in(config)[1]), self.policy)
        settings = RunSettings({**own.params, SHARED: config.get(SHARED, {})}, own.policy)
        # Another function may be slow, or need what other assets hold: its step calls it.
        if self.tasks is as_given:
            try:
                self.records(own.params, settings)
            except InvalidForkError as error:
                problems.append(f"ops: {self.name}: config: {error}")
        if problems:
            raise InvalidRunConfigError("\n".join(problems))
        return settings

    def _params_in(self, config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        return "config", {name: value for name, value in config.items() if name not in (SHARED, POLICY)}

    def records(self, request: Mapping[str, Any], settings: RunSettings) -> tuple[Record, ...]:
        """Return the records of *request*.

        Raises:
            InvalidForkError: names all problems of the request.
        """
        return read_fork(
            {name: value for name, value in request.items() if name != SHARED},
            self.actions,
            settings.policy,
            name=self.name,
            shared=settings.params[SHARED],
        )


def check_policy(policy: FanoutPolicy) -> None:
    """Refuse a policy that says what a fork says by its tasks.

    Raises:
        FanoutDefinitionError: names the fields.
    """
    default = FanoutPolicy()
    if wrong := [name for name in _NOT_FOR_FORKS if getattr(policy, name) != getattr(default, name)]:
        raise FanoutDefinitionError(
            f"policy sets {' and '.join(wrong)}, which a fork does not have: mark tasks that may fail as "
            "optional; the siblings of one that fails always finish."
        )
