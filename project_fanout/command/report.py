"""`fanout report`: what a run did, as one HTML page."""

import os
from pathlib import Path

import click

from project_fanout.command.opened_ledger import CONTEXT, LedgerVerb, opened_ledger, url_option
from project_fanout.command.run_status import found_run
from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger import Ledger, RunNote
from project_fanout.engine.ledger.runs import noted_runs
from project_fanout.report.page import page_html
from project_fanout.report.units import Logs, run_report


@click.command(cls=LedgerVerb, context_settings=CONTEXT)
@click.argument("run", default="")
@url_option
@click.option("--asset", help="Only this asset, of a run that makes several.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="File or folder. Default: the current folder."
)
@click.option(
    "--logs/--no-logs", default=True, help="Whether to read what units logged from the Dagster instance."
)
def report(run: str, url: str | None, asset: str | None, output: Path | None, logs: bool) -> None:
    """Write what a run did as one HTML file, a page for each asset: timeline, units, failures, stragglers.

    RUN is the id of a run, or how it begins; by default the latest.
    """
    with opened_ledger(url) as ledger:
        run = found_run(ledger, run)
        for note in _notes(ledger, run, asset):
            page = page_html(run_report(ledger, note, _logs(run) if logs else None))
            path = _path(output, note)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page, encoding="utf-8")
            click.echo(path)


def _notes(ledger: Ledger, run: str, asset: str | None) -> list[RunNote]:
    notes = ledger.read(lambda connection: noted_runs(connection, run))
    chosen = [note for note in notes if asset in (None, note.scope.asset)]
    if not chosen:
        accepted = ", ".join(dict.fromkeys(note.scope.asset for note in notes))
        raise LedgerError(f"Run {run} does not make {asset!r}, accepted: {accepted}.")
    return chosen


def _logs(run: str) -> Logs:
    if not os.environ.get("DAGSTER_HOME"):
        return {}
    import dagster as dg  # noqa: PLC0415  # 1 s

    from project_fanout.orchestration.unit_logs import unit_logs  # noqa: PLC0415  # likewise

    with dg.DagsterInstance.get() as instance:
        return unit_logs(instance, run)


def _path(output: Path | None, note: RunNote) -> Path:
    parts = (note.scope.asset, note.scope.partition, note.run_id[:8])
    name = "_".join("".join(c if c.isalnum() or c in "-." else "_" for c in part) for part in parts if part)
    if output is not None and (output.suffix and not output.is_dir()):
        return output
    return (output or Path()) / f"{name}.html"
