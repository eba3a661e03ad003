"""`build_fork_asset`: a graph-backed asset that forks into tasks known at run time, and joins them."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, cast

import dagster as dg
import pandas as pd
from dagster import AssetsDefinition

from project_fanout.engine.annotations import function_behind
from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.engine.model import Record
from project_fanout.engine.params import Params
from project_fanout.engine.policy import FanoutPolicy
from project_fanout.engine.progress import Progress
from project_fanout.forks.actions import Action, Actions
from project_fanout.forks.fork_config import POLICY, SHARED, ForkRunConfig, as_given, check_policy
from project_fanout.forks.join import Branch, JoinedTask, JoinFailedError, failed_join_text, join_task
from project_fanout.forks.request import InvalidForkError
from project_fanout.orchestration.asset import asset_key, define_asset, upstream_of
from project_fanout.orchestration.collect import log_first_traceback
from project_fanout.orchestration.markdown_table import markdown_table
from project_fanout.orchestration.ops import PARTITION_KEY, FanoutOps
from project_fanout.orchestration.run_config import Settings

if TYPE_CHECKING:
    from typing_extensions import Unpack  # in typing only since Python 3.11

_SHOWN = 50  # rows of the table of tasks in the metadata


@dataclass(frozen=True, kw_only=True)
class ForkOps(FanoutOps):
    """Makes the ops of one fork: its records are what the tasks function returned, its value is the join."""

    run_config: ForkRunConfig

    def find_records(
        self, context: dg.OpExecutionContext, settings: Settings, ins: Mapping[str, Any]
    ) -> Iterable[Record]:
        """Call the tasks function and read what it returned, as a whole."""
        request: Any = super().find_records(context, settings, ins)
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
        records: Sequence[Progress],
    ) -> None:
        """Refuse to materialise without a task that is not optional.

        Raises:
            JoinFailedError: names each of them.
        """
        required = [record for record in records if not _branch(record).optional]
        failed = [record for record in required if record.outcome.failed]
        if failed:
            log_first_traceback(context, [unit for record in failed for unit in record.outcome.failed])
            raise JoinFailedError(
                failed_join_text([(record.record_key, _joined(record)) for record in failed], len(required))
            )

    def value(self, records: Sequence[Progress], frame: pd.DataFrame) -> Any:  # noqa: ARG002  # rows are units
        """Return the join, a dict from `taskReferenceName` to `JoinedTask`, with a table of all tasks."""
        tasks = {record.record_key: _joined(record) for record in records}
        joined = {record.record_key for record in records if _branch(record).joined}
        statuses = pd.Series([task["status"] for task in tasks.values()], dtype="object")
        return dg.MaterializeResult(
            value={reference: task for reference, task in tasks.items() if reference in joined},
            metadata={
                "tasks": _table(tasks, joined),
                **{str(status): int(count) for status, count in statuses.value_counts().items()},
            },
        )


class AssetOptions(TypedDict, total=False):
    """What `build_fork_asset` hands on to `dagster.graph_asset`."""

    group_name: str | None
    metadata: Mapping[str, Any] | None
    tags: Mapping[str, str] | None
    kinds: AbstractSet[str] | None
    owners: Sequence[str] | None
    backfill_policy: dg.BackfillPolicy | None
    code_version: str | None
    automation_condition: dg.AutomationCondition | None  # type: ignore[type-arg]  # any kind of key
    hooks: AbstractSet[dg.HookDefinition] | None


def build_fork_asset(
    name: str,
    *,
    actions: Iterable[Action | Callable[..., Any]],
    tasks: Callable[..., Any] = as_given,
    policy: FanoutPolicy | None = None,
    params: Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    ins: Mapping[str, Any] | None = None,
    key_prefix: str | Sequence[str] | None = None,
    description: str | None = None,
    partitions_def: dg.PartitionsDefinition | None = None,
    retry_policy: dg.RetryPolicy | None = None,
    op_tags: Mapping[str, Any] | None = None,
    pool: str | None = None,
    io_manager_key: str | None = None,
    step_io_manager_key: str | None = None,
    **options: "Unpack[AssetOptions]",
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
        policy: how tasks run that do not say otherwise.
        params: values that replace the defaults of inputs, and of the parameters of *tasks*.
        resources: resources whose values fill the keyword-only parameters of stages that are named like
            them: what their `for_units()` returns. Those of `Definitions` replace them.
        ins: upstream asset of positional parameters of *tasks* that are not named like it.
        retry_policy: for the steps; tasks have `retryCount` and `policy.max_attempts`.
        key_prefix, description, partitions_def, op_tags, pool, io_manager_key, step_io_manager_key,
            options: as for `build_fanout_asset`.

    Raises:
        FanoutDefinitionError: an action, a param or the policy is not acceptable; says which and why.
    """
    where = f"build_fork_asset({name!r})"
    policy = policy or FanoutPolicy()
    try:
        upstream = upstream_of(tasks, ins or {}, partitions_def, options.get("backfill_policy"))
        check_policy(policy)
        registry, own = _read_params(actions, tasks, dict(params or {}), frozenset(resources or {}))
    except FanoutDefinitionError as error:
        raise FanoutDefinitionError(f"{where}: {error}") from error.__cause__
    key = asset_key(name, key_prefix)
    ops = ForkOps(
        key=key,
        records=tasks,
        run_config=ForkRunConfig(
            name=key.to_python_identifier(), params=own, policy=policy, tasks=tasks, actions=registry
        ),
        upstream=upstream,
        partitions_def=partitions_def,
        code_version=options.get("code_version"),
        retry_policy=retry_policy,
        op_tags=op_tags,
        pool=pool,
        io_manager_key=io_manager_key,
        step_io_manager_key=step_io_manager_key,
        resources=resources or {},
    )
    return define_asset(
        ops,
        name=name,
        key_prefix=key_prefix,
        description=description or inspect.getdoc(function_behind(tasks)),
        **options,
    )


def _read_params(
    actions: Iterable[Action | Callable[..., Any]],
    tasks: Callable[..., Any],
    params: Mapping[str, Any],
    supplied: frozenset[str],
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


def _branch(record: Progress) -> Branch:
    return cast("Branch", record.plan)


def _joined(record: Progress) -> JoinedTask:
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
