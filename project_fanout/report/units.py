"""What a report says of a run's units, read from the ledger; `page.page_html` says in what form."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from project_fanout.engine.ledger import Ledger, LedgerEntry, LedgerFilter, LedgerScope, RunNote
from project_fanout.engine.ledger.runs import noted_reuse
from project_fanout.engine.model import STATUSES, UnitOutcome
from project_fanout.engine.values import beginning

# Characters of what a unit has returned. Of very many units less is shown, so that the page stays below 30 MB.
_LONGEST_RESULT = 500
_LONGEST_OF_MANY = 120
_MANY = 20_000

#: Lines that a unit has logged, by the keys of its record and its own.
Logs = Mapping[tuple[str, str], Sequence[str]]


class _Texts:
    """Texts that many units have in common: each is told once, and by its number from then on."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self.number = {text: place for place, text in enumerate(known)}

    def __getitem__(self, text: str) -> int:
        return self.number.setdefault(text, len(self.number))

    @property
    def all(self) -> list[str]:
        return list(self.number)


def run_report(ledger: Ledger, note: RunNote, logs: Logs | None = None) -> dict[str, Any]:
    """Return the report of a run of an asset, as `page.page_html` takes it.

    Args:
        ledger: what was written to it before has to be flushed.
        note: the run, and the asset and partition.
        logs: what the units have logged, as far as it is known.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    entries = [*_standing(ledger, note), *_taken(ledger, note)]
    own = [entry for entry in entries if entry.run_id == note.run_id]
    began = min([note.began_at, *(_started_at(entry.outcome) for entry in own)])
    records, errors, runs = _Texts(), _Texts(), _Texts([note.run_id])
    workers = _numbers({entry.outcome.worker for entry in own})
    stages = dict(enumerate(note.stages)) | {e.outcome.stage_index: e.outcome.stage for e in entries}
    place_of = {index: place for place, index in enumerate(sorted(stages))}
    units: dict[str, list[Any]] = defaultdict(list)
    details: dict[str, dict[str, Any]] = {}
    longest = _LONGEST_RESULT if len(entries) <= _MANY else _LONGEST_OF_MANY
    for row, entry in enumerate(entries):
        outcome, is_own = entry.outcome, entry.run_id == note.run_id
        columns = {
            "record": records[outcome.record_key],
            "stage": place_of[outcome.stage_index],
            "key": outcome.unit_key,
            "status": STATUSES.index(outcome.status),
            "attempts": outcome.attempts,
            "start": round(_started_at(outcome) - began, 4) if is_own else None,
            "seconds": round(outcome.seconds, 5),
            "last": round(outcome.as_earlier.seconds, 5),
            "cpu": _rounded(outcome.cpu_seconds, 4),
            "mb": _rounded(outcome.peak_mb, 1),
            "worker": workers.get(outcome.worker) if is_own else None,
            "error": None if outcome.error is None else errors[str(outcome.error)],
            "run": runs[entry.run_id],
        }
        for name, value in columns.items():
            units[name].append(value)
        details[str(row)] = _details(entry, longest, (logs or {}).get((outcome.record_key, outcome.unit_key)))
    ended = note.ended_at or max([note.seen_at, *(entry.outcome.ended_at for entry in own)])
    return {
        "asset": note.scope.asset,
        "partition": note.scope.partition,
        "run": note.run_id,
        "runs": runs.all,
        "began": began,
        "ended": ended,
        "is_over": note.state != "running",
        "workers": max(1, len(workers)),
        "places": max(note.places, len(workers), 1),
        "found": len(entries) if note.state != "running" else max(len(entries), note.units),
        "records": records.all,
        "stages": [stages[index] for index in place_of],
        "statuses": list(STATUSES),
        "errors": errors.all,
        "units": {name: units[name] for name in _COLUMNS},
        "details": {row: each for row, each in details.items() if each},
    }


_COLUMNS = (
    *("record", "stage", "key", "status", "attempts", "start", "seconds", "last"),
    *("cpu", "mb", "worker", "error", "run"),
)


def _standing(ledger: Ledger, note: RunNote) -> Iterator[LedgerEntry]:
    """Yield the outcomes of the run's scope; what an earlier one has lost a run that goes on may still try again."""
    scope = note.scope
    for entry in ledger.entries(LedgerFilter(scope.lineage, scope.asset, scope.partition)):
        if entry.run_id == note.run_id or entry.outcome.succeeded or note.state != "running":
            yield entry


def _taken(ledger: Ledger, note: RunNote) -> Iterator[LedgerEntry]:
    """Yield the outcomes that were taken from other lineages."""
    wanted: dict[str, set[tuple[int, str, str]]] = defaultdict(set)
    for stage_index, taken in ledger.read(lambda connection: noted_reuse(connection, note.scope)):
        wanted[taken.from_lineage].add((stage_index, taken.record_key, taken.from_run_id))
    for lineage, whose in wanted.items():
        scope = LedgerScope(lineage, note.scope.asset, note.scope.partition)
        for entry in ledger.entries(
            LedgerFilter(scope.lineage, scope.asset, scope.partition, status="succeeded")
        ):
            if (entry.outcome.stage_index, entry.outcome.record_key, entry.run_id) in whose:
                yield entry


def _started_at(outcome: UnitOutcome) -> float:
    """Return when the last attempt of a unit began, in seconds since 1970 (UTC)."""
    return outcome.ended_at - outcome.seconds + sum(each.seconds for each in outcome.earlier)


def _numbers(workers: set[str]) -> dict[str, int]:
    """Return a number for each worker: its own, or its place among the others."""
    workers.discard("")
    if all(worker.isdigit() for worker in workers):
        return {worker: int(worker) for worker in workers}
    return {worker: place for place, worker in enumerate(sorted(workers))}


def _rounded(figure: float | None, digits: int) -> float | None:
    return None if figure is None or not math.isfinite(figure) else round(figure, digits)


def _details(entry: LedgerEntry, longest: int, log: Sequence[str] | None) -> dict[str, Any]:
    outcome = entry.outcome
    found: dict[str, Any] = {}
    if entry.input:
        found["input"] = entry.input
    if outcome.fanout is not None:
        keys = ", ".join(key for key, _ in outcome.fanout[:20])
        found["result"] = f"{len(outcome.fanout)} units for the next stage: {keys}"[:longest]
    elif outcome.encoded is not None:
        found["result"] = beginning(outcome.encoded, longest)
    if log:
        found["log"] = list(log)
    if outcome.error is not None or outcome.earlier:
        last = outcome.as_earlier._asdict()
        if outcome.error is not None:
            last["error"] = outcome.error.traceback or str(outcome.error)
        found["attempts"] = [*(each._asdict() for each in outcome.earlier), last]
    return found
