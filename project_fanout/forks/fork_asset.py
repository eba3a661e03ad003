"""`build_fork_asset`: a graph-backed asset that forks into tasks known at run time, and joins them."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import dagster as dg
import pandas as pd
from dagster import AssetsDefinition

from project_fanout.engine.annotations import function_behind
from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.engine.model import Record
from project_fanout.engine.params import Params
from project_fanout.engine.policy import FanoutPolicy
from project_fanout.engine.record_state import RecordState
from project_fanout.forks.actions import Action, Actions
from project_fanout.forks.fork_config import POLICY, SHARED, ForkRunConfig, as_given, check_policy
from project_fanout.forks.join import Branch, JoinedTask, JoinFailedError, failed_join_text, join_task
from project_fanout.forks.request import InvalidForkError
from project_fanout.orchestration.asset import define_asset, upstream_of
from project_fanout.orchestration.collect import log_first_traceback
from project_fanout.orchestration.fan_in import FanIn
from project_fanout.orchestration.markdown_table import markdown_table
from project_fanout.orchestration.ops import PARTITION_KEY, FanoutOps
from project_fanout.orchestration.options import Declared, FanoutOptions
from project_fanout.orchestration.run_config import RunSettings

if TYPE_CHECKING:
    from typing_extensions import Unpack  # in typing only since Python 3.11

_SHOWN = 50  # rows of the table of tasks in the metadata


@dataclass(frozen=True, kw_only=True)
class ForkOps(FanoutOps):
    """Makes the ops of one fork: its records are what the tasks function returned, its value is the join."""

    needs_records: ClassVar[bool] = True

    run_config: ForkRunConfig

    def find_records(
        self, settings: RunSettings, ins: Mapping[str, Any], partition_keys: Sequence[str]
    ) -> Iterable[Record]:
        """Call the tasks function and read what it returned, as a whole."""
        request: Any = super().find_records(settings, ins, partition_keys)
        if not isinstance(request, Mapping):
            raise InvalidForkError(
                f"{function_behind(self.records).__name__} returned {request!r}, a {type(request).__name__}: return "
                "{'dynamicTasks': [...], 'dynamicTasksInput': {...}}."
            )
        return self.run_config.records(request, settings)

    def check_outcomes(
        self,
        context: dg.OpExecutionContext,
        policy: FanoutPolicy,  # noqa: ARG002  # for a fork it is `optional` that decides
        fan_in: FanIn,
    ) -> None:
        """Refuse to materialise without a task that is not optional.

        Before that, resources of the tasks that have a `tasks_ended` are told so.

        Raises:
            JoinFailedError: names each of them.
        """
        for key in self.declared.supplied:
            if told := getattr(getattr(context.resources, key, None), "tasks_ended", None):
                told()
        required = [record for record in fan_in.records if not _branch(record).optional]
        failed = [record for record in required if record.outcome.failed]
        if failed:
            log_first_traceback(context, [unit for record in failed for unit in record.outcome.failed])
            raise JoinFailedError(
                failed_join_text([(record.record_key, _joined(record)) for record in failed], len(required))
            )

    def value(self, fan_in: FanIn, frame: pd.DataFrame) -> Any:  # noqa: ARG002  # rows are units
        """Return the join, a dict from `taskReferenceName` to `JoinedTask`, with a table of all tasks."""
        records = fan_in.records
        tasks = {record.record_key: _joined(record) for record in records}
        joined = {record.record_key for record in records if _branch(record).joined}
        statuses = Counter(task["status"] for task in tasks.values())
        return dg.MaterializeResult(
            value={reference: task for reference, task in tasks.items() if reference in joined},
            metadata={
                "tasks": _table(tasks, joined),
                **dict(statuses.most_common()),
            },
        )


def build_fork_asset(
    name: str,
    *,
    actions: Iterable[Action | Callable[..., Any]],
    tasks: Callable[..., Any] = as_given,
    **options: "Unpack[FanoutOptions]",
) -> AssetsDefinition:
    """Return a graph-backed asset that forks into tasks and joins them.

    The asset's value is a dict from `taskReferenceName` to a `JoinedTask` (status, output and more), in
    the order of the tasks. Each task is a step, `process_record[<reference>]`. A task that does not
    succeed fails the join, after its siblings have finished, unless it is `optional`.

    The run config is `ops: <name>: config:` with the keyword-only parameters of *tasks*, `params` (inputs
    for every task that has them) and `policy`.

    Args:
        name: the asset's name.
        actions: what tasks may name: `Action`s, or plain stage functions.
        tasks: returns the fork, a dict with `dynamicTasks` and `dynamicTasksInput`, or `forkTaskInputs`
            with `forkTaskName` or `forkTaskWorkflow`, and perhaps `joinOn`. Its positional parameters are
            upstream assets. By default the run config is the fork.
        options: as for `build_fanout_asset`. *policy* is that of tasks that do not say otherwise, *params*
            replace the defaults of inputs and of the parameters of *tasks*.

    Raises:
        FanoutDefinitionError: an action, a param or another argument is not acceptable; says which and why.
    """

    def make(declared: Declared) -> ForkOps:
        upstream = upstream_of(tasks, declared)
        check_policy(declared.policy)
        registry, own = _read_params(actions, tasks, declared.params, declared.supplied)
        return ForkOps(
            declared=declared,
            records=tasks,
            upstream=upstream,
            known_stages=registry.stages,
            run_config=ForkRunConfig(
                name=declared.key.to_python_identifier(),
                params=own,
                policy=declared.policy,
                tasks=tasks,
                actions=registry,
            ),
        )

    return define_asset("build_fork_asset", name, options, make)


def _read_params(
    actions: Iterable[Action | Callable[..., Any]],
    tasks: Callable[..., Any],
    params: Mapping[str, Any],
    supplied: Mapping[str, Any],
) -> tuple[Actions, Params]:
    """Return the registry, and the params of *tasks*, each with those of *params* that concern it."""
    reserved = frozenset({PARTITION_KEY})
    names = {param.name for param in Params(tasks, [], reserved=reserved)}
    if taken := names & {SHARED, POLICY}:
        raise FanoutDefinitionError(
            f"{function_behind(tasks).__name__} takes {' and '.join(sorted(taken))}, which the run config of a "
            "fork has beside its params: rename it."
        )
    own = {name: value for name, value in params.items() if name in names}
    for_tasks = {name: value for name, value in params.items() if name not in names}
    return Actions(tuple(actions), for_tasks, supplied), Params(tasks, [], own, reserved=reserved)


def _branch(record: RecordState) -> Branch:
    return cast("Branch", record.plan)


def _joined(record: RecordState) -> JoinedTask:
    return join_task(_branch(record), record.outcome)


def _table(tasks: Mapping[str, JoinedTask], joined: AbstractSet[str]) -> dg.MarkdownMetadataValue:
    rows = [
        {
            "taskReferenceName": reference,
            "action": task["action"],
            "status": task["status"],
            "attempts": task["attempts"],
            "seconds": task["seconds"],
            "joined": "yes" if reference in joined else "no",
        }
        for reference, task in tasks.items()
    ]
    return markdown_table(pd.DataFrame(rows), _SHOWN)
