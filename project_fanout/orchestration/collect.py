"""What the collect step makes of the outcomes: a failed run, or the asset's value, metadata and checks."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pandas as pd

from project_fanout.engine.errors import (
    NOT_OF_THE_UNIT,
    FanoutDefinitionError,
    FanoutError,
    ToleranceExceededError,
)
from project_fanout.engine.model import UnitOutcome
from project_fanout.engine.policy import FanoutPolicy
from project_fanout.orchestration.beta import beta_parts_of_dagster
from project_fanout.orchestration.fan_in import FanIn
from project_fanout.orchestration.report import (
    asset_metadata,
    counts_metadata,
    failures_markdown,
    failures_table,
    failures_text,
    table_metadata,
)

#: The asset check that every fan-out asset has.
COMPLETE_CHECK = "all_units_succeeded"

_NAMED_RECORDS = 20

_NO_VALUE: Any = dg.MaterializeResult().value


def complete_check(key: dg.AssetKey, partitions_def: dg.PartitionsDefinition | None) -> dg.AssetCheckSpec:
    """Return the check that every fan-out asset has; it has a result for each partition of the asset."""
    with beta_parts_of_dagster():
        return dg.AssetCheckSpec(
            COMPLETE_CHECK,
            asset=key,
            description="Whether every unit of the fan-out succeeded.",
            partitions_def=partitions_def,
        )


def check_tolerance(context: dg.OpExecutionContext, policy: FanoutPolicy, fan_in: FanIn) -> None:
    """Refuse to materialise with more failures than *policy* allows.

    Raises:
        ToleranceExceededError: names record, unit and error of each failure.
    """
    failed, not_started = fan_in.failed, fan_in.total("not_started")
    total = fan_in.units + not_started
    if failed and (not_started or len(failed) / total > policy.max_failed_ratio):
        log_first_traceback(context, failed)
        text = failures_text(failed, total, policy.max_failed_ratio)
        if not_started:
            reason = "fail_fast is on"
            if any(unit.error and unit.error.type in NOT_OF_THE_UNIT for unit in failed):
                reason = "their stage had not worked for any unit so far"
            text += f"\n{not_started} more units were not started, because {reason}."
        raise ToleranceExceededError(text)
    if failed:
        context.log.warning(failures_text(failed, total, policy.max_failed_ratio))
    if hollow := fan_in.hollow:
        context.log.warning(
            "%s of %s records have no units, and so no row in the table: %s",
            len(hollow),
            fan_in.total("records"),
            ", ".join(map(repr, hollow[:_NAMED_RECORDS])),
        )


def log_first_traceback(context: dg.OpExecutionContext, failed: Iterable[UnitOutcome]) -> None:
    """Write the first traceback among *failed* to the run's log; the run's own error has none of theirs."""
    first = next((unit.error.traceback for unit in failed if unit.error and unit.error.traceback), "")
    if first:
        context.log.error("Traceback of the first failure:\n%s", first)


def results(
    fan_in: FanIn,
    work: Mapping[str, Any],
    frame: pd.DataFrame | None,
    value: Any,
    checks: Sequence[dg.AssetCheckSpec],
) -> Iterator[Any]:
    """Yield what the collect op yields: the output `result`, then the results of the checks.

    Args:
        fan_in: what became of the records.
        work: what the metadata says of the workers, and where the report is.
        frame: the table of all outcomes, the asset's value where *value* brings none; None where nobody has made it.
        value: the asset's value, or a `MaterializeResult` with or without it.
        checks: the asset's checks: its own, then those whose results *value* holds.

    Raises:
        FanoutDefinitionError: *value* is something of Dagster's that is no value.
    """
    if isinstance(value, (dg.Output, dg.AssetCheckResult)):
        raise FanoutDefinitionError(
            f"aggregate returned a {type(value).__name__}, accepted: the asset's value, or a MaterializeResult "
            "with it; write `return dg.MaterializeResult(value=..., metadata=..., check_results=[...])`."
        )
    metadata = asset_metadata(fan_in, work)
    found: list[dg.AssetCheckResult] = []
    extra: dict[str, Any] = {}
    if isinstance(value, dg.MaterializeResult):
        metadata.update(value.metadata or {})
        found.extend(value.check_results)
        given = {"data_version": value.data_version, "tags": value.tags}
        extra = {name: each for name, each in given.items() if each is not None}
        value = frame if value.value is _NO_VALUE else value.value
    metadata = {**table_metadata(value), **metadata}
    with beta_parts_of_dagster():
        output = dg.Output(value, output_name="result", metadata=metadata, **extra)
    yield output
    yield _completeness(fan_in)
    # The asset may have got another key since it was built; Dagster knows which.
    only = checks[1].name if len(checks) == 2 else None
    for check in found:
        yield check._replace(asset_key=None, check_name=check.check_name or only)


@contextmanager
def not_tried_again(context: dg.OpExecutionContext) -> Iterator[None]:
    """Let an error in the block fail the step at once, whatever its retry policy: it would come again.

    An `OSError` may not: a file or a server was away. What Dagster has raised, or the user for Dagster, means what it
    says.
    """
    try:
        yield
    except (OSError, dg.Failure, dg.RetryRequested, dg.DagsterError):
        raise
    except Exception as error:
        # What Dagster makes of an error where there is no retry policy.
        raise dg.DagsterExecutionStepExecutionError(
            f"Error occurred while executing {context.get_step_execution_context().describe_op()}:",
            user_exception=error,
            original_exc_info=sys.exc_info(),
            step_key=context.get_step_execution_context().step.key,
            op_name=context.op.name,
            op_def_name=context.op_def.name,
        ) from error


def results_of_failure(
    context: dg.OpExecutionContext, fan_in: FanIn, work: Mapping[str, Any], error: FanoutError
) -> Iterator[dg.AssetCheckResult]:
    """Yield what the collect op yields before it fails with *error*, and leave an observation of the asset.

    Without them the asset's page would have nothing of a failed run but a check that could not be executed.
    """
    partition = context.partition_key if context.has_partition_key else None
    context.log_event(
        dg.AssetObservation(
            context.asset_key_for_output("result"),
            description=f"Not materialized. {str(error).splitlines()[0].rstrip(':')}.",
            metadata=asset_metadata(fan_in, work),
            partition=partition,
        )
    )
    yield _completeness(fan_in)


def _completeness(fan_in: FanIn) -> dg.AssetCheckResult:
    failed = fan_in.failed
    return dg.AssetCheckResult(
        check_name=COMPLETE_CHECK,
        passed=not failed,
        description=failures_markdown(failed, fan_in.units) if failed else None,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            **counts_metadata(*fan_in.counts),
            **({"failures": failures_table(failed)} if failed else {}),
        },
    )
