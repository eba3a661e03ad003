"""`fanout retry`: try chosen units of a run again."""

import os
import sys

import click

from project_fanout.command.opened_ledger import CONTEXT, LedgerVerb, opened_ledger, url_option
from project_fanout.command.run_status import found_run
from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger import Ledger, LedgerEntry, LedgerFilter
from project_fanout.engine.ledger.runs import noted_runs
from project_fanout.engine.ledger.where import chosen_units


@click.command(cls=LedgerVerb, context_settings=CONTEXT)
@click.argument("run")
@click.option(
    "--where",
    metavar="SQL",
    default="1",
    help="Which of the units without success, e.g. \"status = 'failed' and error like '%429%'\". Default: all.",
)
@click.option("--dry-run", is_flag=True, help="Say how many units it would be, and do nothing.")
@url_option
def retry(run: str, where: str, dry_run: bool, url: str | None) -> None:
    """Try chosen units of a run again, and collect what has become of all.

    RUN is the id of a run, or how it begins. It is re-executed in this process, by the instance in DAGSTER_HOME; units
    that have succeeded, and those without success that are not chosen, keep their outcome. It ends with 1 if the new
    run fails.
    """
    with opened_ledger(url) as ledger:
        run = found_run(ledger, run)
        assets = []
        for note in ledger.read(lambda connection: noted_runs(connection, run)):
            failed = _without_success(ledger, note.scope.lineage, note.scope.asset, note.scope.partition)
            chosen = chosen_units(failed, where)
            click.echo(
                f"{note.scope.asset}: {len(chosen):,} of {len(failed):,} units without success", err=True
            )
            if chosen:
                assets.append(note.scope.asset)
    if not assets:
        raise LedgerError(f"No unit of run {run} is chosen, so nothing is run.")
    if not dry_run:
        sys.exit(0 if _succeeds(run, assets, where) else 1)


def _without_success(ledger: Ledger, lineage: str, asset: str, partition: str) -> list[LedgerEntry]:
    entries = ledger.entries(LedgerFilter(lineage, asset, partition))
    return [entry for entry in entries if not entry.outcome.succeeded]


def _succeeds(run: str, assets: list[str], where: str) -> bool:
    if not os.environ.get("DAGSTER_HOME"):
        raise LedgerError("DAGSTER_HOME is not set: set it to the home of the instance that made the run.")
    import dagster as dg  # noqa: PLC0415  # 1 s

    from project_fanout.orchestration.retried_run import NotRetriableError, retry_run  # noqa: PLC0415  # likewise

    try:
        with dg.DagsterInstance.get() as instance:
            result = retry_run(instance, run, assets, where)
    except NotRetriableError as error:
        raise LedgerError(str(error)) from error
    click.echo(f"Run {result.run_id} {'succeeded' if result.success else 'failed'}.", err=True)
    return result.success
