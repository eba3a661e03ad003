"""`Usage`: what the workers of a run did, and when."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from project_fanout.engine.ledger import Ledger, LedgerScope
from project_fanout.engine.ledger.run_counts import PartOfRun, Span, run_parts, run_spans
from project_fanout.engine.ledger.runs import noted_runs

# Of more units only sums are read.
_MOST_SPANS = 20_000
#: Into so many parts of equal length the time of a run is cut.
PARTS = 240


@dataclass(frozen=True, slots=True)
class Usage:
    """What the workers of a run did.

    Args:
        workers: those that have run a unit.
        busy: for each of them, in each part of the run's time the units that it had in work, on average; an array of
            workers by `PARTS`.
        failed: likewise how many units ended there without success.
        busy_s: time of the units in workers, last attempts alone.
        wall_s: from the first unit's start to the last one's end.
        places: how many units could run at once, 0 where that is not known.
    """

    workers: tuple[str, ...]
    busy: "np.ndarray[tuple[int, int], np.dtype[np.float64]]"
    failed: "np.ndarray[tuple[int, int], np.dtype[np.int64]]"
    busy_s: float
    wall_s: float
    places: int

    @classmethod
    def of(cls, spans: Sequence[Span], places: int) -> "Usage | None":
        """Return what *spans* come to, None where there are none.

        Args:
            spans: when which worker ran a unit.
            places: how many units could run at once.
        """
        if not spans:
            return None
        workers = tuple(sorted({span.worker for span in spans}, key=_as_number))
        number = {worker: place for place, worker in enumerate(workers)}
        lanes = np.array([number[span.worker] for span in spans])
        began = np.array([span.began_at for span in spans])
        ended = np.array([span.ended_at for span in spans])
        first, wall_s = float(began.min()), max(float(ended.max() - began.min()), 1e-9)
        starts, ends = (began - first) / wall_s * PARTS, (ended - first) / wall_s * PARTS
        failed = np.zeros((len(workers), PARTS), dtype="int64")
        lost = ~np.array([span.succeeded for span in spans])
        np.add.at(failed, (lanes[lost], _part(ends[lost])), 1)
        busy = np.zeros((len(workers), PARTS))
        _spread(busy, lanes, starts, ends)
        return cls(workers, busy, failed, float((ended - began).sum()), wall_s, places)

    @classmethod
    def of_parts(cls, wall_s: float, parts: Sequence[PartOfRun], places: int) -> "Usage":
        """Return what the *parts* of a run of so many short units come to that each need not be looked at.

        Args:
            wall_s: from the first unit's start to the last one's end.
            parts: what ended in each; of one at least.
            places: how many units could run at once.
        """
        workers = tuple(sorted({part.worker for part in parts}, key=_as_number))
        number = {worker: place for place, worker in enumerate(workers)}
        busy, failed = np.zeros((len(workers), PARTS)), np.zeros((len(workers), PARTS), dtype="int64")
        for part in parts:
            busy[number[part.worker], part.part] += part.seconds / wall_s * PARTS
            failed[number[part.worker], part.part] += part.failed
        return cls(workers, busy, failed, sum(part.seconds for part in parts), wall_s, places)

    @property
    def efficiency(self) -> float | None:
        """Which share of the places' time was spent in units; None where that cannot be told.

        It cannot where each step has a pool of its own, as under `multiprocess_executor`.
        """
        share = self.busy_s / (self.places * self.wall_s) if self.places else math.inf
        return min(share, 1.0) if share < 1.05 else None  # clocks and rounding


def usage_of(ledger: Ledger, scope: LedgerScope, run_id: str, units: int) -> Usage | None:
    """Return what the workers of a run did for an asset, None if it has run no unit.

    Args:
        ledger: of the run.
        scope: lineage, asset and partition.
        run_id: the run.
        units: how many have ended.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    notes = ledger.read(lambda connection: noted_runs(connection, run_id))
    places = next((note.places for note in notes if note.scope == scope), 0)
    if units <= _MOST_SPANS:
        return Usage.of(ledger.read(lambda connection: run_spans(connection, scope, run_id)), places)
    wall_s, parts = ledger.read(lambda connection: run_parts(connection, scope, run_id, PARTS))
    return Usage.of_parts(wall_s, parts, places) if parts else None


def _as_number(worker: str) -> tuple[int, str]:
    return (int(worker), "") if worker.isdigit() else (10**9, worker)


def _part(
    places: "np.ndarray[tuple[int], np.dtype[np.float64]]",
) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    parts: np.ndarray[tuple[int], np.dtype[np.int64]] = np.clip(places.astype("int64"), 0, PARTS - 1)
    return parts


def _spread(
    busy: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
    lanes: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    starts: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    ends: "np.ndarray[tuple[int], np.dtype[np.float64]]",
) -> None:
    """Add to *busy* what lies between *starts* and *ends*, in parts, of each lane."""
    first, last = _part(starts), _part(ends)
    within = first == last
    np.add.at(busy, (lanes[within], first[within]), (ends - starts)[within])
    lanes, starts, ends = lanes[~within], starts[~within], ends[~within]
    first, last = first[~within], last[~within]
    np.add.at(busy, (lanes, first), first + 1 - starts)
    np.add.at(busy, (lanes, last), ends - last)
    # Whole parts in between: up by one where they begin, down where they end.
    steps = np.zeros((busy.shape[0], busy.shape[1] + 1))
    np.add.at(steps, (lanes, first + 1), 1.0)
    np.add.at(steps, (lanes, last), -1.0)
    busy += np.cumsum(steps, axis=1)[:, :-1]
