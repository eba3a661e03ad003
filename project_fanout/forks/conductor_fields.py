"""Fields that Conductor writes into every task, of which only the default has a meaning here."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from project_fanout.forks.problems import Problems, shown


class NotHere(NamedTuple):
    """A field of Conductor whose default alone is accepted.

    Args:
        default: what Conductor writes where nobody has set the field; null is accepted beside it.
        instead: why no other value is, and what to do.
    """

    default: Any
    instead: str


_NO_OTHER_TYPES = "tasks of the types SIMPLE, CUSTOM and SUB_WORKFLOW have no use for it; remove it"
_NO_BRANCHES = (
    "a task holds no others here; make each of them a task of dynamicTasks, or a stage of an Action"
)
_NO_EXPRESSIONS = (
    "no expressions are evaluated; decide in Python, in the function that makes the tasks or in a stage"
)
_NO_NESTED_FORK = "a task does not fork here; let a stage return Fanout(units)"

#: The fields of Conductor's `WorkflowTask`, beside those of `ForkTask`.
TASK_FIELDS: Mapping[str, NotHere] = {
    "asyncComplete": NotHere(default=False, instead="a task ends when its last stage returns; remove it"),
    "cacheConfig": NotHere(None, "results are kept by the ledger; use reuse of the policy"),
    "caseExpression": NotHere(None, _NO_EXPRESSIONS),
    "caseValueParam": NotHere(None, _NO_EXPRESSIONS),
    "decisionCases": NotHere({}, _NO_BRANCHES),
    "defaultCase": NotHere([], _NO_BRANCHES),
    "defaultExclusiveJoinTask": NotHere([], _NO_OTHER_TYPES),
    "dynamicForkJoinTasksParam": NotHere(None, _NO_NESTED_FORK),
    "dynamicForkTasksInputParamName": NotHere(None, _NO_NESTED_FORK),
    "dynamicForkTasksParam": NotHere(None, _NO_NESTED_FORK),
    "dynamicTaskNameParam": NotHere(None, "the name of a task is not looked up; give it by name"),
    "evaluatorType": NotHere(None, _NO_EXPRESSIONS),
    "expression": NotHere(None, _NO_EXPRESSIONS),
    "forkTasks": NotHere([], _NO_BRANCHES),
    "items": NotHere(None, _NO_OTHER_TYPES),
    "joinOn": NotHere([], "it belongs to the fork; give it beside dynamicTasks"),
    "joinStatus": NotHere(None, _NO_OTHER_TYPES),
    "loopCondition": NotHere(None, _NO_EXPRESSIONS),
    "loopOver": NotHere([], _NO_BRANCHES),
    "onStateChange": NotHere({}, "no events are published; remove it, and use sensors of Dagster"),
    "rateLimited": NotHere(
        default=False, instead="rates are limited by max_per_second of the policy; remove it"
    ),
    "scriptExpression": NotHere(None, _NO_EXPRESSIONS),
    "sink": NotHere(None, _NO_OTHER_TYPES),
    "startDelay": NotHere(0, "a task starts as soon as a worker is free; remove it"),
    "taskDefinition": NotHere(
        None, "a task is defined by its Action; give retryCount and timeoutSeconds to the task itself"
    ),
    "workflowTaskType": NotHere(None, "give the type as type"),
}
#: Those of its `SubWorkflowParams`, beside `name` and `version`.
SUB_WORKFLOW_FIELDS: Mapping[str, NotHere] = {
    "idempotencyKey": NotHere(None, "a workflow is started once for each task; remove it"),
    "idempotencyStrategy": NotHere(None, "a workflow is started once for each task; remove it"),
    "priority": NotHere(0, "tasks start in their order; put the urgent ones first"),
    "taskToDomain": NotHere({}, "there are no domains; remove it"),
    "workflowDefinition": NotHere(None, "a workflow is an Action in Python; name it by name and version"),
}


def without_defaults(
    given: Mapping[str, Any],
    own: Iterable[str],
    others: Mapping[str, NotHere],
    problems: Problems,
    *,
    where: str,
    inside: str = "",
) -> dict[str, Any]:
    """Return *given* without what says nothing: nulls, and fields of *others*; what those say else is a problem.

    Args:
        given: what was given.
        own: the fields that mean something here.
        others: those that do not.
        problems: takes the problems.
        where: the place of *given* in the request.
        inside: what stands in messages before the name of a field.
    """
    own = frozenset(own)
    left = {}
    for name, value in given.items():
        if value is None and (name in own or name in others):
            continue
        if name in own or name not in others:
            left[name] = value
        elif not _alike(value, others[name].default):
            accepted = " or null" if others[name].default is not None else ""
            what = f"{inside}{name} is {shown(value)}, which is not supported here"
            problems.add(
                f"{what}, accepted: {json.dumps(others[name].default)}{accepted}; {others[name].instead}",
                where,
                kind=(inside, name),
            )
    return left


def _alike(value: Any, default: Any) -> bool:
    """Tell whether *value* is *default*; False is not 0."""
    return isinstance(value, bool) == isinstance(default, bool) and bool(value == default)
