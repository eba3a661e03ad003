"""A request to fork, in Conductor's terms: read, checked as a whole, and turned into records."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from project_fanout.engine.errors import FanoutDefinitionError, FanoutError, InvalidRecordError
from project_fanout.engine.model import Record, Unit
from project_fanout.engine.plan import PlannedStage
from project_fanout.engine.policy import FanoutPolicy
from project_fanout.engine.values import to_json
from project_fanout.forks.actions import Actions, RegisteredAction, UnknownActionError
from project_fanout.forks.conductor_fields import SUB_WORKFLOW_FIELDS, TASK_FIELDS, without_defaults
from project_fanout.forks.join import Branch
from project_fanout.forks.problems import Problems, shown, some
from project_fanout.forks.validation import NUMBER, usable_part

#: What Conductor adds to the inputs of each task of a list. Here an action that takes it gets it, and for others it is
#: left out: they may read their payload as a type that has no such field.
INDEX = "__index"


class InvalidForkError(FanoutError):
    """A fork cannot be started; the message names every problem. Raised before any task runs."""


class SubWorkflowParam(BaseModel):
    """Which workflow a task of the type SUB_WORKFLOW starts."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1)
    version: Annotated[int | None, NUMBER] = Field(default=None, ge=1)


class ForkTask(BaseModel):
    """One entry of `dynamicTasks`; the fields of Conductor beside these are in `conductor_fields`."""

    model_config = ConfigDict(extra="forbid")
    taskReferenceName: str = Field(default="", min_length=1)
    name: str | None = Field(default=None, min_length=1)
    type: Literal["SIMPLE", "CUSTOM", "SUB_WORKFLOW"] = "SIMPLE"
    subWorkflowParam: SubWorkflowParam | None = None
    inputParameters: dict[str, Any] = Field(default_factory=dict)
    optional: bool = False
    retryCount: Annotated[int | None, NUMBER] = Field(default=None, ge=0, le=99)
    timeoutSeconds: Annotated[float | None, NUMBER] = Field(default=None, ge=0, allow_inf_nan=False)
    description: str | None = None
    # Either way: whatever fails, the siblings finish before the join fails, which true asks for.
    permissive: bool = False


class ForkRequest(BaseModel):
    """A fork of `dynamicTasks`, which may differ, or of one task or workflow over `forkTaskInputs`."""

    model_config = ConfigDict(extra="forbid")
    dynamicTasks: list[Any] = []
    dynamicTasksInput: dict[str, Any] = {}
    forkTaskName: str = Field(default="", min_length=1)
    forkTaskType: Literal["SIMPLE", "CUSTOM", "SUB_WORKFLOW"] | None = None
    forkTaskWorkflow: str = Field(default="", min_length=1)
    forkTaskWorkflowVersion: Annotated[int | None, NUMBER] = Field(default=None, ge=1)
    forkTaskInputs: list[Any] = []
    optional: bool = False
    joinOn: list[str] = []


class _Wanted(NamedTuple):
    """One task of a request, as far as it could be read.

    Args:
        where: its place in the request, for messages.
        task: those of its fields that are right.
        action: what it runs, None if that is a problem already.
        inputs: its own inputs.
        complete: whether those are all that it was given; others could not be read, which is a problem already.
    """

    where: str
    task: ForkTask
    action: RegisteredAction | None
    inputs: Mapping[str, Any]
    complete: bool


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
            `forkTaskWorkflow` and perhaps `forkTaskWorkflowVersion` and `optional`; in both forms perhaps
            `joinOn`. A field that is None counts as left out.
        actions: what tasks may name.
        policy: how tasks run that do not say otherwise.
        name: the fork's own name, of which `forkTaskWorkflow` makes the references.
        shared: inputs for every task that has them and is not given them.

    Raises:
        InvalidForkError: names all problems of the request.
    """
    reading = _Reading(actions, policy, name, shared or {})
    records = reading.records({key: value for key, value in request.items() if value is not None})
    if count := len(reading.problems):
        raise InvalidForkError(
            f"{count} {'problem' if count == 1 else 'problems'} with the fork; no task has been started:\n"
            + "\n".join(f"- {problem}" for problem in reading.problems)
        )
    return records


@dataclass
class _Reading:
    """Reads one request, and notes what is wrong with it."""

    actions: Actions
    policy: FanoutPolicy
    name: str
    shared: Mapping[str, Any]
    problems: Problems = field(default_factory=Problems)

    def records(self, given: Mapping[str, Any]) -> tuple[Record, ...]:
        """Return the records of those tasks that have no problem."""
        try:
            self.actions.check_inputs(self.shared, "params sets")
        except FanoutDefinitionError as error:
            self.problems.add(str(error))
        request, wrong = usable_part(ForkRequest, given, self.problems)
        same = [key for key in ForkRequest.model_fields if key in given and key.startswith("forkTask")]
        differing = [key for key in ("dynamicTasks", "dynamicTasksInput") if given.get(key)]
        if same and differing:
            self.problems.add(
                f"{', '.join(differing)} and {', '.join(same)} exclude each other: give tasks that differ, "
                "or one task for a list of inputs"
            )
            return ()
        if same:
            wanted = self._same_task(request, given, wrong)
            references = {each.task.taskReferenceName for each in wanted}
        else:
            wanted = self._differing_tasks(request, wrong)
            references = {name for name in map(_reference, request.dynamicTasks) if name}
            if request.optional:
                self.problems.add(
                    "optional is True, which goes with forkTaskName and forkTaskWorkflow alone: give it to each task "
                    "of dynamicTasks that may fail"
                )
        # Where the tasks could not be read, nobody knows their references.
        if not same and "dynamicTasks" not in wrong:
            self._check_strays("dynamicTasksInput has inputs for", request.dynamicTasksInput, references)
        if wanted or not (same or wrong):
            self._check_strays("joinOn names", request.joinOn, references)
        joined = frozenset(request.joinOn) or references
        found = [self._record(each, joined=each.task.taskReferenceName in joined) for each in wanted]
        return tuple(record for record in found if record is not None)

    def _check_strays(self, what: str, names: Iterable[str], references: set[str]) -> None:
        if strays := [repr(name) for name in names if name not in references]:
            self.problems.add(f"{what} {some(strays)}, and no task has that taskReferenceName")

    def _same_task(
        self, request: ForkRequest, given: Mapping[str, Any], wrong: frozenset[str]
    ) -> list[_Wanted]:
        """Return the tasks that a list of inputs stands for, with the references of Conductor."""
        if "forkTaskInputs" not in given:
            self.problems.add("forkTaskInputs is missing, accepted: a list of inputs, one per task")
        of, kinds = "forkTaskName", ["SIMPLE", "CUSTOM"]
        if "forkTaskWorkflow" in given:
            of, kinds = "forkTaskWorkflow", ["SUB_WORKFLOW"]
        elif "forkTaskWorkflowVersion" in given:
            self.problems.add("forkTaskWorkflowVersion is given without forkTaskWorkflow")
        if request.forkTaskType not in (None, *kinds):
            self.problems.add(f"forkTaskType is {request.forkTaskType!r}, accepted with {of}: {kinds[0]}")
        if of not in given:
            self.problems.add("forkTaskName is missing: give it or forkTaskWorkflow")
        action = None
        if called := getattr(request, of):
            kind = "task" if of == "forkTaskName" else "workflow"
            action = self._action(of, kind, called, request.forkTaskWorkflowVersion)
        if "forkTaskWorkflowVersion" in wrong:
            action = None
        # As in Conductor, a worker task is called by its name and a workflow by the fork that starts it.
        stem = request.forkTaskName or self.name
        if not called:
            return []
        wanted = []
        for index, entry in enumerate(request.forkTaskInputs):
            where = f"forkTaskInputs[{index}]"
            task = ForkTask(taskReferenceName=f"_{stem}_{index}", optional=request.optional)
            inputs = dict(entry) if isinstance(entry, Mapping) else {"input": entry}
            found = None
            if action and not isinstance(entry, Mapping) and "input" not in _names(action):
                accepted = ", ".join(sorted(_names(action))) or "none"
                self.problems.add(
                    f"is {shown(entry)}, accepted: a map of inputs, of which {action.action} has: {accepted}",
                    where,
                    kind="no map",
                )
            else:
                found = action
            wanted.append(_Wanted(where, task, found, {**inputs, INDEX: index}, complete=True))
        return wanted

    def _differing_tasks(self, request: ForkRequest, wrong: frozenset[str]) -> list[_Wanted]:
        """Return the entries of `dynamicTasks`, each as far as it can be read."""
        wanted = []
        places: dict[str, list[str]] = {}
        for index, document in enumerate(request.dynamicTasks):
            where = f"dynamicTasks[{index}]"
            if not isinstance(document, Mapping):
                accepted = ", ".join(ForkTask.model_fields)
                self.problems.add(
                    f"is {shown(document)}, accepted: a map of {accepted}", where, kind="no task"
                )
                continue
            if reference := _reference(document):
                places.setdefault(reference, []).append(where)
                where += f" ({shown(reference)})"
            wanted.append(self._task(where, document, request, complete="dynamicTasksInput" not in wrong))
        for reference, found in places.items():
            if len(found) > 1:
                self.problems.add(
                    f"taskReferenceName {shown(reference)} is given to "
                    f"{' and '.join(found) if len(found) == 2 else some(found)}: each task needs its own",
                    kind="twice",
                )
        return wanted

    def _task(
        self, where: str, document: Mapping[Any, Any], request: ForkRequest, *, complete: bool
    ) -> _Wanted:
        given = without_defaults(document, ForkTask.model_fields, TASK_FIELDS, self.problems, where=where)
        workflow = given.get("subWorkflowParam")
        if isinstance(workflow, Mapping):
            given["subWorkflowParam"] = without_defaults(
                workflow,
                SubWorkflowParam.model_fields,
                SUB_WORKFLOW_FIELDS,
                self.problems,
                where=where,
                inside="subWorkflowParam.",
            )
        task, wrong = usable_part(ForkTask, given, self.problems, where=where)
        if "taskReferenceName" not in given:
            self.problems.add("taskReferenceName is missing", where)
        inputs = request.dynamicTasksInput.get(task.taskReferenceName)
        if inputs is not None and not isinstance(inputs, Mapping):
            what = f"its inputs are {shown(inputs)}, accepted: a map from name to value"
            self.problems.add(what, where, kind="inputs no map")
            inputs, complete = None, False
        return _Wanted(
            where,
            task,
            self._action_of(where, task, given, wrong),
            {**task.inputParameters, **(inputs or {})},
            complete=complete and task.taskReferenceName != "" and "inputParameters" not in wrong,
        )

    def _action_of(
        self, where: str, task: ForkTask, given: Mapping[str, Any], wrong: frozenset[str]
    ) -> RegisteredAction | None:
        """Return the action that *task* names.

        One of a single stage is Conductor's worker task and a chain of stages is its workflow, but
        either can be started in either way.
        """
        is_workflow = task.type == "SUB_WORKFLOW"
        if "type" not in wrong and is_workflow != ("subWorkflowParam" in given):
            self.problems.add(
                "subWorkflowParam is missing, and type is SUB_WORKFLOW"
                if is_workflow
                else "subWorkflowParam is given, so type has to be SUB_WORKFLOW",
                where,
            )
        if task.subWorkflowParam is not None:
            return self._action(where, "workflow", task.subWorkflowParam.name, task.subWorkflowParam.version)
        if "subWorkflowParam" in given:
            workflow = given["subWorkflowParam"]
            if isinstance(workflow, Mapping) and isinstance(name := workflow.get("name"), str) and name:
                self._action(where, "workflow", name, None)  # its version is wrong, and perhaps its name too
            return None
        if is_workflow:
            return None
        if task.name is not None:
            return self._action(where, "task", task.name, None)
        if not wrong & {"name", "type"}:
            self.problems.add("name is missing", where)
        return None

    def _action(self, where: str, kind: str, name: str, version: int | None) -> RegisteredAction | None:
        try:
            return self.actions.find(name, version)
        except UnknownActionError as error:
            self.problems.add(f"the {kind} {error}", where)
            return None

    def _record(self, wanted: _Wanted, *, joined: bool) -> Record | None:
        where, task, action, inputs, _ = wanted
        if action is None or INDEX not in _names(action):
            inputs = {name: value for name, value in inputs.items() if name != INDEX}
        stages, faulty = self._stages(wanted)
        reference = task.taskReferenceName
        try:
            to_json({name: value for name, value in inputs.items() if name not in faulty}, "inputs")
            if action is None or stages is None or not reference:
                return None
            branch = Branch(
                stages=stages,
                policy=self._policy(task),
                action=str(action.action),
                optional=task.optional,
                joined=joined,
            )
            return Record(reference, [Unit(reference, inputs)], branch)
        except (InvalidRecordError, TypeError) as error:
            self.problems.add(str(error), where)
            return None

    def _stages(self, wanted: _Wanted) -> tuple[tuple[PlannedStage, ...] | None, frozenset[str]]:
        """Return what *wanted* runs, None if its inputs are a problem, and which of them are."""
        where, _, action, inputs, complete = wanted
        if action is None:
            return None, frozenset()
        has = _names(action)
        own = {name: value for name, value in inputs.items() if name in has or name != INDEX}
        shared = {name: value for name, value in self.shared.items() if name in has and name not in own}
        stages, faults = action.checked_plan({**shared, **own})
        for fault in faults:
            if fault.name in shared:
                self.problems.add(fault.text, "params")
        theirs = [fault for fault in faults if fault.name not in shared]
        if not complete:
            theirs = [fault for fault in theirs if fault.kind != "missing"]
        text = "; ".join(fault.text for fault in theirs)
        if not own and theirs and where.startswith("dynamicTasks"):
            names = ", ".join(fault.name for fault in theirs)
            text = f"has no inputs; give it an entry in dynamicTasksInput with {names}"
        if theirs:
            kind = (str(action.action), *(fault[:2] for fault in theirs))
            self.problems.add(text, where, kind=(kind, not own))
        return None if faults else stages, frozenset(fault.name for fault in faults)

    def _policy(self, task: ForkTask) -> FanoutPolicy:
        policy = self.policy
        if task.retryCount is not None:
            policy = replace(policy, max_attempts=task.retryCount + 1)
        if task.timeoutSeconds is not None:
            # As in Conductor, 0 is no limit.
            policy = replace(policy, unit_timeout_s=task.timeoutSeconds or None)
        return policy


def _names(action: RegisteredAction) -> frozenset[str]:
    return frozenset(param.name for param in action.params)


def _reference(document: object) -> str | None:
    """Return the reference of what may be a task, None if it has none."""
    found = document.get("taskReferenceName") if isinstance(document, Mapping) else None
    return found if isinstance(found, str) and found else None
