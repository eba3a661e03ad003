"""`fanout status`: how far a run is, from its ledger alone."""

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from project_fanout.command.opened_ledger import CONTEXT, LedgerVerb, json_option, opened_ledger, url_option
from project_fanout.command.printing import cell, print_json, print_table, time_text
from project_fanout.command.run_status import RunStatus, found_run, run_statuses
from project_fanout.common import duration_text
from project_fanout.engine.ledger import Ledger
from project_fanout.engine.model import STATUSES
from project_fanout.engine.progress import progress_line

# To count a million outcomes takes a second: a watch is to take a fifth of the database's time at most.
_EVERY_S, _RESTS = 1.0, 4
# Where no terminal shows a bar.
_LINE_EVERY_S = 5.0
_BAR = 24  # characters


@click.command(cls=LedgerVerb, context_settings=CONTEXT)
@click.argument("run", default="")
@url_option
@json_option
@click.option("--watch", is_flag=True, help="Go on until the run has ended; exit with 1 if it has failed.")
def status(run: str, url: str | None, as_json: bool, watch: bool) -> None:
    """Say how far a run is: units done, failed, running and waiting, their rate, the time left.

    RUN is the id of a run, or how it begins; by default the latest. All is read from the ledger: also while the web UI
    is down, from another machine, and after the run.
    """
    with opened_ledger(url) as ledger:
        run = found_run(ledger, run)
        found = run_statuses(ledger, run)
        if watch:
            found = _watch(ledger, run)
    if as_json:
        print_json([_fields(each) for each in found])
    else:
        for number, each in enumerate(found):
            click.echo("\n" if number else "", nl=False)
            _print(each)
    if watch and any(each.state != "succeeded" for each in found):
        click.get_current_context().exit(1)


def line(status: RunStatus) -> str:
    """Return in one line how far a run is."""
    so_far = sum(stage.found or stage.done + stage.running for stage in status.stages)
    return progress_line(
        done=status.done,
        known=so_far if status.total is None else status.total,
        is_all=status.total is not None,
        reused=sum(stage.reused for stage in status.stages),
        failed=sum(stage.done - stage.ended["succeeded"] for stage in status.stages),
        running=sum(stage.running for stage in status.stages),
        rate=status.rate,
    )


def _print(status: RunStatus) -> None:
    note = status.note
    print_table([status], {
        "asset": lambda each: each.note.scope.asset,
        **({"partition": lambda each: each.note.scope.partition} if note.scope.partition else {}),
        "run": lambda each: each.note.run_id,
        "state": lambda each: each.state,
        "began": lambda each: time_text(each.note.began_at),
        "took": lambda each: duration_text(each.elapsed_s),
        "records": lambda each: f"{each.note.records:,}{'' if each.note.found_all else ' so far'}",
    })  # fmt: skip
    click.echo()
    columns: dict[str, Any] = {
        "stage": lambda each: each.stage,
        "units": lambda each: "" if each.found is None else f"{each.found:,}",
        "done": lambda each: f"{each.done:,}",
        **{name: _ended(name) for name in STATUSES},
        "reused": lambda each: f"{each.reused:,}",
        "running": lambda each: f"{each.running:,}",
        "unit_seconds": lambda each: f"{each.seconds:,.1f}",
    }
    print_table(status.stages, columns)
    click.echo(f"\n{line(status)}")
    for remark in _remarks(status):
        click.echo(remark)


def _ended(name: Any) -> Any:
    return lambda each: f"{each.ended[name]:,}"


def _remarks(status: RunStatus) -> Iterator[str]:
    if status.note.error:
        yield "\n".join(map(cell, status.note.error.splitlines()))
    if status.later_run:
        yield f"Run {status.later_run} has gone on with its units since."
    elif status.state == "silent":
        ago = duration_text(time.time() - status.heard_at)
        yield (
            f"Nothing has been heard of it for {ago}. If its process has died, re-execute the run: what has "
            "succeeded is not run again."
        )


def _fields(status: RunStatus) -> dict[str, Any]:
    stages = [{**asdict(stage), "done": stage.done} for stage in status.stages]
    return {
        **asdict(status),
        "stages": stages,
        "done": status.done,
        "total": status.total,
        "seconds_left": status.seconds_left,
    }


def _watch(ledger: Ledger, run: str) -> list[RunStatus]:
    """Show how far the run is until it has ended, and return how it has."""
    if not sys.stderr.isatty():
        return _watch_by_lines(ledger, run)
    drawn = 0
    for found in _looks(ledger, run, _EVERY_S):
        # Over the lines that are there: up to the first of them, and away with the rest of the screen.
        click.echo((f"\x1b[{drawn}F" if drawn else "") + "\x1b[J", nl=False, err=True)
        width = shutil.get_terminal_size().columns - 1
        for each in found:
            click.echo(f"{_bar(each)} {line(each)}"[:width], err=True)
        drawn = len(found)
    return found


def _watch_by_lines(ledger: Ledger, run: str) -> list[RunStatus]:
    for found in _looks(ledger, run, _LINE_EVERY_S):
        for each in found:
            click.echo(f"{cell(each.note.scope.asset)}: {line(each)}", err=True)
    return found


def _looks(ledger: Ledger, run: str, every_s: float) -> Iterator[list[RunStatus]]:
    """Yield how far the run is, time and again, and at last how it has ended."""
    while True:
        begun = time.monotonic()
        found = run_statuses(ledger, run)
        yield found
        if all(each.state != "running" for each in found):
            return
        time.sleep(max(every_s, _RESTS * (time.monotonic() - begun)))


def _bar(status: RunStatus) -> str:
    """Return a bar as long as the share that is done; empty where nobody knows of how much."""
    scope = status.note.scope
    title = cell(" ".join(filter(None, (scope.asset, scope.partition))))
    filled = round(_BAR * status.done / status.total) if status.total else 0
    return f"{title} {'█' * filled}{'░' * (_BAR - filled)}"
