"""A request to fork, in Conductor's terms: read, checked as a whole, and turned into records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from project_fanout.engine.errors import (
    FanoutDefinitionError,
    FanoutError,
    InvalidParamsError,
    InvalidRecordError,
)
from project_fanout.engine.model import Record, Unit
from project_fanout.engine.policy import FanoutPolicy
from project_fanout.engine.values import to_json
from project_fanout.forks.actions import Actions, RegisteredAction, UnknownActionError
from project_fanout.forks.join import Branch
from project_fanout.forks.validation import problems_of, usable_part

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing only since Python 3.11


class InvalidForkError(FanoutError):
    """A fork cannot be started; the message names every problem. Raised before any task runs."""


class SubWorkflowParam(BaseModel):
    """Which workflow a task of the type SUB_WORKFLOW starts."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1)
    version: int | None = Field(default=None, ge=1)


class ForkTask(BaseModel):
    """One entry of `dynamicTasks`."""

    model_config = ConfigDict(extra="forbid")
    taskReferenceName: str = Field(min_length=1)
    name: str | None = Field(default=None, min_length=1)
    type: Literal["SIMPLE", "CUSTOM", "SUB_WORKFLOW"] = "SIMPLE"
    subWorkflowParam: SubWorkflowParam | None = None
    inputParameters: dict[str, Any] = Field(default_factory=dict)
    optional: bool = False
    retryCount: int | None = Field(default=None, ge=0, le=99)
    timeoutSeconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    description: str | None = None

    @model_validator(mode="after")
    def _name_one_action(self) -> "Self":
        if self.type == "SUB_WORKFLOW" and self.subWorkflowParam is None:
            raise ValueError("subWorkflowParam is missing, and type is SUB_WORKFLOW")
        if self.type != "SUB_WORKFLOW" and self.subWorkflowParam is not None:
            raise ValueError("subWorkflowParam is given, so type has to be SUB_WORKFLOW")
        if self.type != "SUB_WORKFLOW" and self.name is None:
            raise ValueError("name is missing")
        return self


class ForkRequest(BaseModel):
    """A fork of `dynamicTasks`, which may differ, or of one task or workflow over `forkTaskInputs`."""

    model_config = ConfigDict(extra="forbid")
    dynamicTasks: list[Any] = []
    dynamicTasksInput: dict[str, Any] = {}
    forkTaskName: str = Field(default="", min_length=1)
    forkTaskType: Literal["SIMPLE", "CUSTOM", "SUB_WORKFLOW"] | None = None
    forkTaskWorkflow: str = Field(default="", min_length=1)
    forkTaskWorkflowVersion: int | None = Field(default=None, ge=1)
    forkTaskInputs: list[Any] = []
    joinOn: list[str] = []


def read_fork(
    request: Mapping[str, Any],
    actions: Actions,
    policy: FanoutPolicy,
    *,
    name: str,
    shared: Mapping[str, Any] | None = None,
) -> tuple[Record, ...]:
    """Return one record per forked task, in the order of the request, each with a `Branch` as its plan.

    Args:
        request: `dynamicTasks` and `dynamicTasksInput`; or `forkTaskInputs` with `forkTaskName` or with
            `forkTaskWorkflow` and perhaps `forkTaskWorkflowVersion`; in both forms perhaps `joinOn`.
            A field that is None counts as left out.
        actions: what tasks may name.
        policy: how tasks run that do not say otherwise.
        name: the fork's own name, of which `forkTaskWorkflow` makes the references.
        shared: inputs for every task that has them and is not given them.

    Raises:
        InvalidForkError: names all problems of the request.
    """
    reading = _Reading(actions, policy, name, shared or {})
    records = reading.records({key: value for key, value in request.items() if value is not None})
    if reading.problems:
        count = len(reading.problems)
        raise InvalidForkError(
            f"{count} {'problem' if count == 1 else 'problems'} with the fork; no task has been started:\n"
            + "\n".join(f"- {problem}" for problem in reading.problems)
        )
    return records


@dataclass
class _Reading:
    """One request on its way to records, and the problems found so far."""

    actions: Actions
    policy: FanoutPolicy
    name: str
    shared: Mapping[str, Any]
    problems: list[str] = field(default_factory=list)

    def records(self, given: Mapping[str, Any]) -> tuple[Record, ...]:
        """Return the records of those tasks that have no problem."""
        try:
            self.actions.check_inputs(self.shared, "params sets")
        except FanoutDefinitionError as error:
            self.problems.append(str(error).removesuffix("."))
        request = usable_part(ForkRequest, given, self.problems)
        same = [key for key in ForkRequest.model_fields if key in given and key.startswith("forkTask")]
        differing = [key for key in ("dynamicTasks", "dynamicTasksInput") if given.get(key)]
        if same and differing:
            self.problems.append(
                f"{', '.join(differing)} and {', '.join(same)} exclude each other: give tasks that differ, "
                "or one task for a list of inputs"
            )
            return ()
        if same:
            self._check_same_task(request, given)
            documents, inputs = self._same_task(request)
        else:
            documents, inputs = request.dynamicTasks, request.dynamicTasksInput
        references = frozenset(filter(None, map(_reference, documents)))
        tasks = self._tasks(documents)
        self._check_references(tasks)
        self.problems += [
            f"dynamicTasksInput has inputs for {reference!r}, and no task has that taskReferenceName"
            for reference in inputs
            if reference not in references
        ]
        self.problems += [
            f"joinOn names {reference!r}, and no task has that taskReferenceName"
            for reference in request.joinOn
            if reference not in references
        ]
        joined = frozenset(request.joinOn) or references
        found = [self._record(where, task, inputs, joined) for where, task in tasks]
        return tuple(record for record in found if record is not None)

    def _check_same_task(self, request: ForkRequest, given: Mapping[str, Any]) -> None:
        if "forkTaskInputs" not in given:
            self.problems.append("forkTaskInputs is missing, accepted: a list of inputs, one per task")
        of, kinds = "forkTaskName", ["SIMPLE", "CUSTOM"]
        if "forkTaskWorkflow" in given:
            of, kinds = "forkTaskWorkflow", ["SUB_WORKFLOW"]
        elif "forkTaskWorkflowVersion" in given:
            self.problems.append("forkTaskWorkflowVersion is given without forkTaskWorkflow")
        if request.forkTaskType not in (None, *kinds):
            self.problems.append(f"forkTaskType is {request.forkTaskType!r}, accepted with {of}: {kinds[0]}")
        if of not in given:
            self.problems.append("forkTaskName is missing: give it or forkTaskWorkflow")

    def _same_task(self, request: ForkRequest) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the tasks that a list of inputs stands for, with the references of Conductor."""
        task: dict[str, Any] = {"name": request.forkTaskName}
        if request.forkTaskWorkflow:
            workflow = {"name": request.forkTaskWorkflow, "version": request.forkTaskWorkflowVersion}
            task = {"type": "SUB_WORKFLOW", "subWorkflowParam": workflow}
        elif not request.forkTaskName:
            return [], {}  # which is a problem already
        # As in Conductor, a worker task is called by its name and a workflow by the fork that starts it.
        stem = request.forkTaskName or self.name
        inputs = {
            f"_{stem}_{index}": given if isinstance(given, Mapping) else {"input": given}
            for index, given in enumerate(request.forkTaskInputs)
        }
        return [{**task, "taskReferenceName": reference} for reference in inputs], inputs

    def _tasks(self, documents: Sequence[Any]) -> list[tuple[str, ForkTask]]:
        """Return those of *documents* that are tasks, each with where it stands, for messages."""
        tasks = []
        for index, document in enumerate(documents):
            where = f"dynamicTasks[{index}]"
            if reference := _reference(document):
                where += f" ({reference!r})"
            try:
                tasks.append((where, ForkTask.model_validate(document)))
            except ValidationError as error:
                self.problems += [f"{where}: {problem}" for problem in problems_of(error, ForkTask)]
        return tasks

    def _check_references(self, tasks: Sequence[tuple[str, ForkTask]]) -> None:
        places: dict[str, list[str]] = {}
        for where, task in tasks:
            places.setdefault(task.taskReferenceName, []).append(where.split(" ", 1)[0])
        self.problems += [
            f"taskReferenceName {reference!r} is given to {' and '.join(found)}: each task needs its own"
            for reference, found in places.items()
            if len(found) > 1
        ]

    def _record(
        self, where: str, task: ForkTask, all_inputs: Mapping[str, Any], joined: frozenset[str]
    ) -> Record | None:
        action = self._action(where, task)
        inputs = self._inputs(where, task, all_inputs)
        if action is None or inputs is None:
            return None
        has = {param.name for param in action.params}
        shared = {key: value for key, value in self.shared.items() if key in has}
        try:
            to_json(inputs, "inputs")
            branch = Branch(
                stages=action.plan({**shared, **inputs}),
                policy=self._policy(task),
                action=str(action.action),
                optional=task.optional,
                joined=task.taskReferenceName in joined,
            )
            return Record(task.taskReferenceName, [Unit(task.taskReferenceName, inputs)], branch)
        except (InvalidParamsError, InvalidRecordError, TypeError) as error:
            self.problems.append(f"{where}: {str(error).removesuffix('.')}")
            return None

    def _action(self, where: str, task: ForkTask) -> RegisteredAction | None:
        """Return the action that *task* names.

        One of a single stage is Conductor's worker task and a chain of stages is its workflow, but
        either can be started in either way.
        """
        workflow = task.subWorkflowParam
        if workflow is not None:
            kind, name, version = "workflow", workflow.name, workflow.version
        else:
            kind, name, version = "task", task.name or "", None
        try:
            return self.actions.find(name, version)
        except UnknownActionError as error:
            self.problems.append(f"{where}: the {kind} {error}")
            return None

    def _inputs(self, where: str, task: ForkTask, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        given = inputs.get(task.taskReferenceName)
        if given is None and task.inputParameters:
            given = {}
        if given is None:
            self.problems.append(
                f"{where}: has no inputs; give it an entry in dynamicTasksInput, perhaps {{}}"
            )
            return None
        if not isinstance(given, Mapping):
            self.problems.append(f"{where}: its inputs are {given!r}, accepted: a map from name to value")
            return None
        return {**task.inputParameters, **given}

    def _policy(self, task: ForkTask) -> FanoutPolicy:
        policy = self.policy
        if task.retryCount is not None:
            policy = replace(policy, max_attempts=task.retryCount + 1)
        if task.timeoutSeconds is not None:
            # As in Conductor, 0 is no limit.
            policy = replace(policy, unit_timeout_s=task.timeoutSeconds or None)
        return policy


def _reference(document: object) -> str | None:
    """Return the reference of what may be a task, None if it has none."""
    found = document.get("taskReferenceName") if isinstance(document, Mapping) else None
    return found if isinstance(found, str) and found else None
