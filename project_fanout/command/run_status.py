"""`RunStatus`: how far the fan-out of a run is, or was when it ended."""

import math
import time
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger import Ledger, RunNote
from project_fanout.engine.ledger.run_counts import OutcomeCount, outcome_counts, units_in_work
from project_fanout.engine.ledger.runs import later_run, noted_runs, run_ids, units_reused
from project_fanout.engine.model import STATUSES, Status

#: `silent`: it has not ended, and nothing has been heard of it for longer than a run is silent.
State = Literal["running", "succeeded", "failed", "silent"]

# A run that goes on writes at least a line of progress a minute.
_LONGEST_SILENCE_S = 150.0
_RATE_OF_LAST_S = 30.0


@dataclass(frozen=True, slots=True)
class StageStatus:
    """How far a stage is.

    Args:
        stage: its name.
        found: units that it gets, as far as is known; None for a later stage, whose units the one before makes.
        ended: by status, how many have ended and are not going to be run again.
        reused: how many of those an earlier run has computed.
        running: how many are in work.
        seconds: time in workers of those that this run has run.
    """

    stage: str
    found: int | None
    ended: dict[Status, int]
    reused: int
    running: int
    seconds: float

    @property
    def done(self) -> int:
        return sum(self.ended.values())


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How far a run is with one asset, or one partition of it.

    Args:
        note: what the run has noted itself.
        state: whether it runs.
        heard_at: when it was last heard of, in seconds since 1970 (UTC).
        stages: its stages, in order.
        rate: units that end a second, of late; 0 once it has ended.
        later_run: a run that has gone on with its units, None if there is none.
    """

    note: RunNote
    state: State
    heard_at: float
    stages: tuple[StageStatus, ...]
    rate: float
    later_run: str | None

    @property
    def done(self) -> int:
        """Units that have ended, in all stages."""
        return sum(stage.done for stage in self.stages)

    @property
    def total(self) -> int | None:
        """How many there are going to be, None while that is not known: with several stages, until the end."""
        return self.note.units if self.note.found_all and len(self.stages) == 1 else None

    @property
    def seconds_left(self) -> float | None:
        """How long the rest will take at the present rate, None where that cannot be told."""
        if self.total is None or self.rate <= 0 or self.state != "running":
            return None
        return max(0, self.total - self.done) / self.rate

    @property
    def elapsed_s(self) -> float:
        """How long it took, or has taken so far."""
        until = self.note.ended_at or (time.time() if self.state == "running" else self.heard_at)
        return max(0.0, until - self.note.began_at)


def found_run(ledger: Ledger, beginning: str) -> str:
    """Return the id of the run whose id begins so; the latest run for "".

    Raises:
        LedgerError: there is none, or there are several.
    """
    found = list(dict.fromkeys(ledger.read(lambda connection: run_ids(connection, beginning))))
    if not found:
        what = f"no run whose id begins with {beginning!r}" if beginning else "no run"
        raise LedgerError(
            f"Ledger {ledger.name} knows {what}. A run is known there once its trigger has begun, if it was run by "
            "this release; `fanout ledger list` prints all outcomes that there are."
        )
    if beginning in ("", found[0]) or len(found) == 1:
        return found[0]
    some = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
    raise LedgerError(f"{len(found)} runs begin with {beginning!r}: {some}. Give more of the id.")


def run_statuses(ledger: Ledger, run: str) -> list[RunStatus]:
    """Return how far it is: one for each asset and partition that the run *run* makes.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    return ledger.read(lambda connection: [_status(connection, note) for note in noted_runs(connection, run)])


def _status(connection: Connection, note: RunNote) -> RunStatus:
    now = time.time()
    counts = outcome_counts(connection, note, now - _RATE_OF_LAST_S)
    own = [count for count in counts if count.is_of_run]
    heard_at = max([note.seen_at, *(count.last_at for count in own)])
    state: State = note.state
    if state == "running" and now - heard_at > _LONGEST_SILENCE_S:
        state = "silent"
    rate = 0.0
    if state == "running":
        rate = sum(count.since for count in own) / min(_RATE_OF_LAST_S, max(now - note.began_at, 1.0))
    in_work = units_in_work(connection, note)
    from_elsewhere = units_reused(connection, note.scope)
    names = dict(enumerate(note.stages)) | {count.stage_index: count.stage for count in counts}
    stages = tuple(
        _stage(
            note,
            index,
            names[index],
            [count for count in counts if count.stage_index == index],
            in_work.get(index, 0) if state == "running" else 0,
            from_elsewhere.get(index, 0),
            is_live=state == "running",
        )
        for index in sorted(names)
    )
    return RunStatus(note, state, heard_at, stages, rate, later_run(connection, note))


def _stage(
    note: RunNote,
    index: int,
    name: str,
    counts: list[OutcomeCount],
    in_work: int,
    from_elsewhere: int,
    *,
    is_live: bool,
) -> StageStatus:
    # What an earlier run has not brought to success a run that goes on may try again.
    may_run = note.state == "running"
    standing = [count for count in counts if count.is_of_run or count.status == "succeeded" or not may_run]
    ended = {status: sum(count.units for count in standing if count.status == status) for status in STATUSES}
    ended["succeeded"] += from_elsewhere
    found = note.units if index == 0 else None
    running = in_work
    if is_live and found is not None and len(note.stages) == 1:
        # Of short units the ledger does not note that they are in work: as many are as there are places for.
        running = max(running, min(note.places, found - sum(ended.values())))
    return StageStatus(
        stage=name,
        found=found,
        ended=ended,
        reused=from_elsewhere + sum(count.units for count in standing if not count.is_of_run),
        running=max(0, running),
        seconds=math.fsum(count.seconds for count in counts if count.is_of_run),
    )
