"""A request to fork, in Conductor's terms: read, checked as a whole, and turned into records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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

#: A fork of tasks that may differ from each other.
DIFFERING_FIELDS = ("dynamicTasks", "dynamicTasksInput")
#: A fork of one task or workflow over a list of inputs.
SAME_TASK_FIELDS = (
    "forkTaskName",
    "forkTaskType",
    "forkTaskWorkflow",
    "forkTaskWorkflowVersion",
    "forkTaskInputs",
)
REQUEST_FIELDS = (*DIFFERING_FIELDS, *SAME_TASK_FIELDS, "joinOn")


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

    def records(self, request: Mapping[str, Any]) -> tuple[Record, ...]:
        """Return the records of those tasks that have no problem."""
        self.problems += [
            f"{key} is not supported here, accepted: {', '.join(REQUEST_FIELDS)}"
            for key in request
            if key not in REQUEST_FIELDS
        ]
        try:
            self.actions.check_inputs(self.shared, "params sets")
        except FanoutDefinitionError as error:
            self.problems.append(str(error).removesuffix("."))
        same = [key for key in SAME_TASK_FIELDS if key in request]
        differing = [key for key in DIFFERING_FIELDS if request.get(key)]
        if same and differing:
            self.problems.append(
                f"{', '.join(differing)} and {', '.join(same)} exclude each other: give tasks that differ, "
                "or one task for a list of inputs"
            )
            return ()
        documents, inputs = self._same_task(request) if same else self._differing_tasks(request)
        tasks = self._tasks(documents)
        self._check_references(tasks)
        self._check_inputs_known(documents, inputs)
        joined = self._join_on(request.get("joinOn"), documents)
        found = [self._record(where, task, inputs, joined) for where, task in tasks]
        return tuple(record for record in found if record is not None)

    def _differing_tasks(self, request: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        documents = request.get("dynamicTasks", [])
        if not isinstance(documents, (list, tuple)):
            self.problems.append(f"dynamicTasks is {documents!r}, accepted: a list of tasks")
            documents = []
        inputs = request.get("dynamicTasksInput", {})
        if not isinstance(inputs, Mapping):
            self.problems.append(
                f"dynamicTasksInput is {inputs!r}, accepted: a map from taskReferenceName to inputs"
            )
            inputs = {}
        return documents, inputs

    def _same_task(self, request: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the tasks that a list of inputs stands for, with the references of Conductor."""
        inputs = request.get("forkTaskInputs")
        if not isinstance(inputs, (list, tuple)):
            self.problems.append(f"forkTaskInputs is {inputs!r}, accepted: a list of inputs, one per task")
            inputs = []
        task = self._forked_task(request)
        if task is None:
            return [], {}
        # As in Conductor, a worker task is called by its name and a workflow by the fork that starts it.
        stem = request.get("forkTaskName") or self.name
        references = [f"_{stem}_{index}" for index in range(len(inputs))]
        return [{**task, "taskReferenceName": reference} for reference in references], {
            reference: each if isinstance(each, Mapping) else {"input": each}
            for reference, each in zip(references, inputs, strict=True)
        }

    def _forked_task(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        workflow, kind = request.get("forkTaskWorkflow"), request.get("forkTaskType")
        if workflow is not None:
            if kind not in (None, "SUB_WORKFLOW"):
                self.problems.append(
                    f"forkTaskType is {kind!r}, accepted with forkTaskWorkflow: SUB_WORKFLOW"
                )
            parameters = {"name": workflow, "version": request.get("forkTaskWorkflowVersion")}
            return {"type": "SUB_WORKFLOW", "subWorkflowParam": parameters}
        if "forkTaskWorkflowVersion" in request:
            self.problems.append("forkTaskWorkflowVersion is given without forkTaskWorkflow")
        if kind not in (None, "SIMPLE", "CUSTOM"):
            self.problems.append(f"forkTaskType is {kind!r}, accepted with forkTaskName: SIMPLE")
        if "forkTaskName" not in request:
            self.problems.append("forkTaskName is missing: give it or forkTaskWorkflow")
            return None
        return {"name": request["forkTaskName"]}

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
                self.problems += [f"{where}: {_problem(each)}" for each in error.errors(include_url=False)]
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

    def _check_inputs_known(self, documents: Sequence[Any], inputs: Mapping[str, Any]) -> None:
        known = set(map(_reference, documents))
        self.problems += [
            f"dynamicTasksInput has inputs for {reference!r}, and no task has that taskReferenceName"
            for reference in inputs
            if reference not in known
        ]

    def _join_on(self, join_on: Any, documents: Sequence[Any]) -> frozenset[str]:
        """Return the references that are joined: all of them where `joinOn` is left out or empty."""
        known = frozenset(filter(None, map(_reference, documents)))
        if join_on is None or join_on == []:
            return known
        if not isinstance(join_on, (list, tuple)) or not all(isinstance(each, str) for each in join_on):
            self.problems.append(f"joinOn is {join_on!r}, accepted: a list of taskReferenceName")
            return known
        self.problems += [
            f"joinOn names {each!r}, and no task has that taskReferenceName"
            for each in join_on
            if each not in known
        ]
        return frozenset(join_on)

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
        if task.type == "SUB_WORKFLOW":
            if task.subWorkflowParam is None:
                self.problems.append(f"{where}: subWorkflowParam is missing, and type is SUB_WORKFLOW")
                return None
            kind, name, version = "workflow", task.subWorkflowParam.name, task.subWorkflowParam.version
        elif task.subWorkflowParam is not None:
            self.problems.append(f"{where}: subWorkflowParam is given, so type has to be SUB_WORKFLOW")
            return None
        elif task.name is None:
            self.problems.append(f"{where}: name is missing")
            return None
        else:
            kind, name, version = "task", task.name, None
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


def _problem(error: Any) -> str:
    """Return one of pydantic's findings as text, e.g. "retryCount is 'x': Input should be ..."."""
    field_name = ".".join(map(str, error["loc"]))
    if not field_name:
        return f"is {error['input']!r}, accepted: a task, which is a map"
    if error["type"] == "missing":
        return f"{field_name} is missing"
    if error["type"] == "extra_forbidden":
        return f"{field_name} is not supported here, accepted: {', '.join(ForkTask.model_fields)}"
    return f"{field_name} is {error['input']!r}: {error['msg']}"
