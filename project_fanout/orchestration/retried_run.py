"""A re-execution that tries chosen units again, and no others."""

from collections.abc import Sequence

import dagster as dg

from project_fanout.engine.errors import FanoutError
from project_fanout.orchestration.internals import ReconstructableRepository

#: The tag of a run that says which of the units without success it tries again, as `chosen_units` takes it. Of the
#: others it keeps the outcome that they have.
RETRY_WHERE = "fanout/retry_where"


class NotRetriableError(FanoutError):
    """A run cannot be re-executed here; the message says how it can."""


def retry_run(
    instance: dg.DagsterInstance, run_id: str, assets: Sequence[str], where: str
) -> dg.JobExecutionResult:
    """Re-execute a run in this process so far that the chosen units are tried again and collected.

    A run that has failed goes on from its failure, with the steps after the fan-out. Of one that has succeeded, with
    failures that its policy tolerates, the steps of *assets* are executed.

    Args:
        instance: that knows the run.
        run_id: the run.
        assets: the fan-out assets that it makes, their keys as text.
        where: which units, see `chosen_units`.

    Raises:
        NotRetriableError: the run is not known or still runs, or nothing says where its job is defined.
    """
    run = instance.get_run_by_id(run_id)
    if run is None:
        raise NotRetriableError(
            f"The Dagster instance in {instance.root_directory} does not know run {run_id}: set DAGSTER_HOME to the "
            "home of the one that does."
        )
    if not run.is_finished:
        raise NotRetriableError(
            f"Run {run_id} is {run.status.value.lower()}: wait for its end, or terminate it."
        )
    if run.job_code_origin is None:
        raise NotRetriableError(
            f"Run {run_id} was started from Python, and nothing says where its job is defined. Re-execute it there, "
            f"with the tags dagster/parent_run_id, dagster/root_run_id and {RETRY_WHERE}."
        )
    if run.is_failure_or_canceled:
        options = dg.ReexecutionOptions.from_failure(run_id, instance)
    else:
        options = dg.ReexecutionOptions(run_id, _steps_of(instance, run, assets))
    repository = ReconstructableRepository(run.job_code_origin.repository_origin.code_pointer)
    job = repository.get_reconstructable_job(run.job_name).get_subset(
        op_selection=run.op_selection,
        asset_selection=run.asset_selection,
        asset_check_selection=run.asset_check_selection,
    )
    return dg.execute_job(
        job, instance, run_config=run.run_config, tags=_tags(run, where), reexecution_options=options
    )


def _steps_of(instance: dg.DagsterInstance, run: dg.DagsterRun, assets: Sequence[str]) -> list[str]:
    plan = run.execution_plan_snapshot_id and instance.get_execution_plan_snapshot(
        run.execution_plan_snapshot_id
    )
    prefixes = tuple(f"{dg.AssetKey.from_user_string(asset).to_python_identifier()}." for asset in assets)
    return [step.key for step in plan.steps if step.key.startswith(prefixes)] if plan else []


def _tags(run: dg.DagsterRun, where: str) -> dict[str, str]:
    """Return the tags of the user and of the partition; Dagster adds those of a re-execution."""
    kept = {
        name: value
        for name, value in run.tags.items()
        if not name.startswith(("dagster/", ".dagster/")) or name.startswith("dagster/partition")
    }
    return {**kept, RETRY_WHERE: where}
