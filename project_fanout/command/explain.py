"""`fanout explain`: what became of a record's units in a run, and why."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

import click
from sqlalchemy import Connection, select

from project_fanout.command.opened_ledger import CONTEXT, LedgerVerb, json_option, opened_ledger, url_option
from project_fanout.command.printing import cell, print_json, print_table, time_text
from project_fanout.command.run_status import found_run
from project_fanout.common import one_line
from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger import Ledger, LedgerEntry, LedgerFilter, LedgerScope, RunNote, Taken
from project_fanout.engine.ledger.run_counts import Span, is_in_work, run_spans
from project_fanout.engine.ledger.runs import noted_reuse, noted_runs
from project_fanout.engine.ledger.schema import OUTCOMES
from project_fanout.engine.values import beginning

_LONGEST = 300
# A wait that is shorter needs no reason.
_NO_WAIT_S = 0.05


@dataclass(frozen=True, slots=True)
class _Found:
    """A unit's outcome, and from which run of another lineage it was taken, if it was."""

    note: RunNote
    entry: LedgerEntry
    taken: Taken | None


@click.command(cls=LedgerVerb, context_settings=CONTEXT)
@click.argument("run")
@click.argument("record")
@click.argument("unit", required=False)
@url_option
@json_option
def explain(run: str, record: str, unit: str | None, url: str | None, as_json: bool) -> None:
    """Say what became of a record's units, or of one of them, and why.

    How long it waited and for what, why it was run, what each attempt came to, or from which run its result was taken.

    RUN is the id of a run, or how it begins. RECORD and UNIT are keys.
    """
    with opened_ledger(url) as ledger:
        run = found_run(ledger, run)
        notes = ledger.read(lambda connection: noted_runs(connection, run))
        found = [each for note in notes for each in _outcomes(ledger, note, record)]
        if not found and (unit is None or not _is_in_work(ledger, notes, record, unit)):
            raise LedgerError(_no_such_record(ledger, notes, record))
        chosen = [each for each in found if unit in (None, each.entry.outcome.unit_key)]
        if as_json:
            print_json([_fields(each) for each in chosen])
        elif unit is None:
            _print_record(chosen)
        elif chosen:
            for each in chosen:
                click.echo("\n".join(map(cell, _story(ledger, each))))
        else:
            click.echo(_without_outcome(ledger, notes, found, record, unit))


def _outcomes(ledger: Ledger, note: RunNote, record: str) -> Iterator[_Found]:
    """Yield the outcomes of a record in the order in which they ended, those that were taken from elsewhere last."""
    scope = note.scope
    for entry in ledger.entries(LedgerFilter(scope.lineage, scope.asset, scope.partition, record)):
        yield _Found(note, entry, None)
    for stage_index, taken in ledger.read(lambda connection: noted_reuse(connection, scope)):
        if taken.record_key != record:
            continue
        elsewhere = LedgerScope(taken.from_lineage, scope.asset, scope.partition)
        chosen = LedgerFilter(elsewhere.lineage, elsewhere.asset, elsewhere.partition, record, "succeeded")
        for entry in ledger.entries(chosen):
            if (entry.outcome.stage_index, entry.run_id) == (stage_index, taken.from_run_id):
                yield _Found(note, entry, taken)


def _print_record(found: Sequence[_Found]) -> None:
    print_table(
        found,
        {
            "asset": lambda each: each.note.scope.asset,
            "stage": lambda each: each.entry.outcome.stage,
            "unit": lambda each: each.entry.outcome.unit_key,
            "status": lambda each: each.entry.outcome.status,
            "attempts": lambda each: each.entry.outcome.attempts,
            "waited": lambda each: _seconds(each.entry.outcome.waited),
            "seconds": lambda each: _seconds(each.entry.outcome.seconds),
            "worker": lambda each: each.entry.outcome.worker,
            "reason": _short_reason,
        },
    )


def _short_reason(found: _Found) -> str:
    outcome = found.entry.outcome
    if found.entry.run_id != found.note.run_id:
        return f"taken from run {found.entry.run_id}"
    return one_line(str(outcome.error or ""), 80)


def _story(ledger: Ledger, found: _Found) -> Iterator[str]:
    """Yield the lines that tell what became of a unit, and why."""
    note, entry, outcome = found.note, found.entry, found.entry.outcome
    where = f"{note.scope.asset} {note.scope.partition}".strip()
    yield f"{where}: record {outcome.record_key!r}, unit {outcome.unit_key!r}, stage {outcome.stage}: {outcome.status}"
    yield f"  {_why(found)}"
    if outcome.waited > _NO_WAIT_S:
        yield f"  It waited {_seconds(outcome.waited)} s from when its step had it{_meanwhile(ledger, entry)}."
    for number, attempt in enumerate((*outcome.earlier, outcome.as_earlier), start=1):
        error = f": {one_line(attempt.error, _LONGEST)}" if attempt.error else ""
        yield f"  Attempt {number} {attempt.status} after {_seconds(attempt.seconds)} s{error}"
    worker = f" on worker {outcome.worker}" if outcome.worker else ""
    yield f"  It ended at {time_text(outcome.ended_at)}{worker}."
    if outcome.cpu_seconds is not None and outcome.peak_mb is not None:
        yield f"  It used {_seconds(outcome.cpu_seconds)} s of CPU and at most {outcome.peak_mb:,.0f} MiB."
    if entry.input:
        yield f"  Input   {entry.input}"
    if outcome.fanout is not None:
        yield f"  Result  {len(outcome.fanout)} units for the next stage"
    elif outcome.encoded is not None:
        yield f"  Result  {beginning(outcome.encoded, _LONGEST)}"
    if outcome.error and outcome.error.traceback:
        yield from (f"  {line}" for line in outcome.error.traceback.splitlines())


def _why(found: _Found) -> str:
    note, entry = found.note, found.entry
    if found.taken is not None:
        return (
            f"It was not run: the result was taken from run {entry.run_id}, for `reuse` is always, and stage, unit "
            "key, payload, params and code version are the same."
        )
    if entry.run_id == note.run_id:
        if note.scope.lineage == note.run_id:
            return "It was run: this is the first run of its lineage."
        return (
            "It was run: no earlier run of the lineage had brought this unit, with this payload, to success."
        )
    if not entry.outcome.succeeded:
        return f"It has not ended in this run yet. What follows is of run {entry.run_id}."
    first = f"It was not run: run {entry.run_id} had brought it to success. "
    return f"{first}Both are of the lineage {note.scope.lineage}, and `reuse` is lineage."


def _meanwhile(ledger: Ledger, entry: LedgerEntry) -> str:
    """Say what ran while a unit waited."""
    outcome = entry.outcome
    began = outcome.ended_at - outcome.seconds - outcome.waited
    started = began + outcome.waited
    spans = ledger.read(lambda connection: run_spans(connection, entry.scope, entry.run_id))
    others = [span for span in spans if span.began_at < started and span.ended_at > began]
    if not others:
        return (
            ": nothing else of the asset ran; the pool's first worker started, or other assets had the places"
        )
    longest = max(others, key=_length)
    units = "1 other unit" if len(others) == 1 else f"{len(others):,} other units"
    return f": meanwhile {units} of the asset ran, for up to {_seconds(_length(longest))} s"


def _length(span: Span) -> float:
    return span.ended_at - span.began_at


def _is_in_work(ledger: Ledger, notes: Sequence[RunNote], record: str, unit: str) -> bool:
    return ledger.read(lambda connection: any(is_in_work(connection, note, record, unit) for note in notes))


def _without_outcome(
    ledger: Ledger, notes: Sequence[RunNote], found: Sequence[_Found], record: str, unit: str
) -> str:
    if _is_in_work(ledger, notes, record, unit):
        return f"Unit {unit!r} of record {record!r} is in work."
    known = [each.entry.outcome.unit_key for each in found]
    text = f"Unit {unit!r} of record {record!r} has not ended: it waits, or there is no such unit."
    return f"{text} {_ended(known)}{_close(unit, known)}"


def _ended(known: Sequence[str]) -> str:
    return f"{len(known)} others of the record have."


def _no_such_record(ledger: Ledger, notes: Sequence[RunNote], record: str) -> str:
    def keys(connection: Connection) -> list[str]:
        names = {
            key
            for note in notes
            for key in connection.scalars(
                select(OUTCOMES.c.record_key)
                .distinct()
                .where(OUTCOMES.c.lineage == note.scope.lineage, OUTCOMES.c.asset == note.scope.asset)
            )
        }
        return sorted(names)

    known = ledger.read(keys)
    return (
        f"No unit of a record {record!r} has ended in run {notes[0].run_id}: it waits, or there is no such record. "
        f"Units of {len(known):,} records have.{_close(record, known)}"
    )


def _close(text: str, known: Sequence[str]) -> str:
    close = get_close_matches(text, known, 3, 0.5)
    return f" Close to it: {', '.join(map(repr, close))}." if close else ""


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}" if seconds < 10 else f"{seconds:,.1f}"


def _fields(found: _Found) -> dict[str, Any]:
    outcome = asdict(found.entry.outcome)
    return {
        "asset": found.note.scope.asset,
        "partition": found.note.scope.partition,
        **{name: outcome[name] for name in _NAMES},
        "run_id": found.entry.run_id,
        "input": found.entry.input,
        "why": _why(found),
    }


_NAMES = (
    *("record_key", "stage", "unit_key", "status", "attempts", "waited", "seconds", "cpu_seconds", "peak_mb"),
    *("worker", "earlier", "error", "ended_at"),
)
