"""The report of a run that has just ended, written where the web UI finds it."""

import os
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import dagster as dg

from project_fanout.common import replace_file
from project_fanout.engine.ledger import Ledger, LedgerScope
from project_fanout.engine.ledger.runs import noted_runs
from project_fanout.engine.values import ValueStore
from project_fanout.orchestration.unit_logs import unit_logs
from project_fanout.report.notebook import notebook_of
from project_fanout.report.page import page_html
from project_fanout.report.units import run_report

#: Reports of more units take seconds: `fanout report` writes them when somebody asks for one.
MOST_UNITS = 20_000


def report_metadata(
    context: dg.OpExecutionContext, ledger: Ledger, scope: LedgerScope, store: ValueStore | None, units: int
) -> dict[str, dg.MetadataValue]:
    """Write the report of this run, and return what the asset's metadata says of it: a link, or how to get it.

    Args:
        context: of the collect step.
        ledger: of the run.
        scope: the lineage, asset and partition.
        store: of the scope's large values, with which the report is removed.
        units: how many it has.

    A report that cannot be written is a warning in the run's log.
    """
    command = f"fanout report {context.run_id}"
    location = context.run.remote_job_origin and context.run.remote_job_origin.location_name
    if location is None or store is None or "://" in store.url or units > MOST_UNITS:
        return {"report": dg.MetadataValue.text(command)}
    path = Path(store.url) / f"report_{context.run_id}.ipynb"
    try:
        _write(path, context, ledger, scope)
    except Exception as error:  # noqa: BLE001  # whatever it is, the work is done, and no report is worth it
        context.log.warning(
            "The report of this run could not be written: %s: %s. `%s` writes it.",
            type(error).__name__,
            error,
            command,
        )
        return {"report": dg.MetadataValue.text(command)}
    # As the code location's process sees it, which is started where this one is; the page of an asset is no place for
    # the folders of a machine.
    query = urlencode({"path": os.path.relpath(path), "repoLocName": location})
    return {"report": dg.MetadataValue.md(f"[Open the report](/notebook?{query}), or `{command}`")}


def _write(path: Path, context: dg.OpExecutionContext, ledger: Ledger, scope: LedgerScope) -> None:
    notes = ledger.read(lambda connection: noted_runs(connection, context.run_id))
    (note,) = (note for note in notes if note.scope == scope)
    # All that the page says of the state is that the run is over.
    ended = replace(note, state="succeeded", ended_at=time.time())
    page = page_html(run_report(ledger, ended, unit_logs(context.instance, context.run_id)))
    replace_file(path, notebook_of(page).encode(), durable=False)
