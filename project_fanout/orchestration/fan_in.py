"""`FanIn`: what the collect step keeps of the outcomes, in a fraction of their memory."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd

from project_fanout.engine.model import Status, UnitOutcome
from project_fanout.engine.record_state import RecordState
from project_fanout.orchestration.batch_input import StoredBatch
from project_fanout.orchestration.table import Rows, joined_rows

#: How many of the slowest units the metadata names.
SLOWEST = 5

# Keys of units that many records have are kept once; keys that differ everywhere are not worth a table of them.
_MOST_SHARED = 10_000
_FRAME_ROWS = 10_000


_T = TypeVar("_T")


class SlowRecord(NamedTuple):
    """A record, how many of its units have ended in all stages, and their seconds in workers."""

    record_key: str
    units: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Share:
    """What the records of one mapped step have come to.

    Args:
        records: how many there are.
        hollow: the keys of those without units.
        by_status: how many units ended in which way.
        not_started: how many units were not handed out.
        ended: how many units have ended in all stages.
        unit_seconds: time of those in workers.
        cpu_seconds: CPU time of those units of which it is known.
        timed_seconds: time of these in workers.
        reused: how many of those were not run.
        retried: how many rows took more than one attempt.
        seconds: of each row.
        peak_mb: the most memory that a worker had, None where that is not known.
        slowest: the slowest rows, the slowest first.
        slowest_records: likewise key, units and seconds in workers of the slowest records.
        failed: the rows without success.
        rows: the rows of the table.
    """

    records: int
    hollow: tuple[str, ...]
    by_status: Counter[Status]
    not_started: int
    ended: int
    unit_seconds: float
    cpu_seconds: float
    timed_seconds: float
    reused: int
    retried: int
    seconds: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    peak_mb: float | None
    slowest: list[UnitOutcome]
    slowest_records: list[SlowRecord]
    failed: list[UnitOutcome]
    rows: Rows

    @classmethod
    def of(cls, records: Sequence[RecordState], shared: dict[str, str], *, with_rows: bool) -> "Share":
        """Return what *records* have come to; *shared* holds the keys of units that are kept once."""
        outcomes = [unit for record in records for unit in record.outcome.units]
        if len(shared) < _MOST_SHARED:
            shared.update((unit.unit_key, unit.unit_key) for unit in outcomes if unit.unit_key not in shared)
        return cls(
            records=len(records),
            hollow=tuple(record.record_key for record in records if not record.leaves),
            by_status=Counter(unit.status for unit in outcomes),
            not_started=sum(len(record.waiting) for record in records),
            ended=sum(record.ended for record in records),
            unit_seconds=sum(record.seconds for record in records),
            cpu_seconds=sum(record.cpu_seconds for record in records),
            timed_seconds=sum(record.timed_seconds for record in records),
            reused=sum(record.reused for record in records),
            retried=sum(unit.attempts > 1 for unit in outcomes),
            seconds=np.array([unit.seconds for unit in outcomes], dtype="float64"),
            peak_mb=max((unit.peak_mb for unit in outcomes if unit.peak_mb is not None), default=None),
            slowest=_slowest(outcomes),
            slowest_records=_slowest(
                SlowRecord(record.record_key, record.ended, record.seconds) for record in records
            ),
            failed=[unit for unit in outcomes if not unit.succeeded],
            rows=Rows.of(outcomes if with_rows else (), shared),
        )


class Repaired(NamedTuple):
    """A record that an earlier run left unfinished, and the collect step has finished.

    Args:
        record_key: the record.
        units: how many of its units have been run for that.
        failed: how many of its units are without success even so.
    """

    record_key: str
    units: int
    failed: int


class FanIn:
    """All records of a fan-out, in their order.

    Args:
        keep_rows: keep the rows of the table.
        keep_records: keep the outcomes as they are as well.
    """

    def __init__(self, *, keep_rows: bool = True, keep_records: bool = False) -> None:
        self._keep_rows, self._keep_records = keep_rows, keep_records
        self._shares: dict[int, Share] = {}
        self._records: dict[int, Sequence[RecordState]] = {}
        self._shared: dict[str, str] = {}
        self.repaired: list[Repaired] = []

    def put(
        self, place: int, records: Sequence[RecordState], *, repaired: Iterable[RecordState] = ()
    ) -> None:
        """Take the records of the mapped step number *place*; the steps may come in any order.

        Those *repaired* are of them, and the collect step has run what was missing of them.
        """
        self.repaired += [
            Repaired(
                each.record_key, each.ended - each.reused, sum(not u.succeeded for u in each.outcome.units)
            )
            for each in repaired
        ]
        self._shares[place] = Share.of(records, self._shared, with_rows=self._keep_rows)
        if self._keep_records:
            self._records[place] = records

    @cached_property
    def shares(self) -> list[Share]:
        """What each mapped step has come to, in their order."""
        return [self._shares[place] for place in sorted(self._shares)]

    @property
    def records(self) -> list[RecordState]:
        """The records that were kept."""
        return [record for place in sorted(self._records) for record in self._records[place]]

    @property
    def units(self) -> int:
        """How many rows there are, a frame's taken as one."""
        return sum(share.by_status.total() for share in self.shares)

    def total(self, figure: str) -> int:
        """Return the sum of a count that each step has."""
        return sum(getattr(share, figure) for share in self.shares)

    @property
    def counts(self) -> tuple[int, Counter[Status]]:
        """How many records there are, and how many units ended in which way."""
        return self.total("records"), sum((share.by_status for share in self.shares), Counter[Status]())

    @property
    def unit_seconds(self) -> float:
        return sum(share.unit_seconds for share in self.shares)

    @property
    def cpu_seconds(self) -> float | None:
        """CPU time of the units, None where it is known of none."""
        return sum(share.cpu_seconds for share in self.shares) if self._timed_seconds else None

    @property
    def waiting_share(self) -> float | None:
        """The share of the units' time in which they used no CPU, but waited; None where it is known of none."""
        if self.cpu_seconds is None:
            return None
        return max(0.0, 1 - self.cpu_seconds / self._timed_seconds)

    @property
    def _timed_seconds(self) -> float:
        return sum(share.timed_seconds for share in self.shares)

    @cached_property
    def failed(self) -> list[UnitOutcome]:
        return [unit for share in self.shares for unit in share.failed]

    @property
    def hollow(self) -> list[str]:
        return [key for share in self.shares for key in share.hollow]

    @property
    def seconds(self) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        """Of each row, the shortest first."""
        return np.sort(np.concatenate([share.seconds for share in self.shares] or [np.empty(0)]))

    @property
    def slowest(self) -> list[UnitOutcome]:
        return _slowest(unit for share in self.shares for unit in share.slowest)

    @property
    def slowest_records(self) -> list[SlowRecord]:
        return _slowest(record for share in self.shares for record in share.slowest_records)

    @property
    def peak_mb(self) -> float | None:
        return max((share.peak_mb for share in self.shares if share.peak_mb is not None), default=None)

    def table(self) -> pd.DataFrame:
        """Return the rows of all units; see `table.outcome_frame`. To be called once: the rows are moved there."""
        return joined_rows([share.rows for share in self.shares])


def frames(batches: Iterable[StoredBatch]) -> Iterator[pd.DataFrame]:
    """Yield the table of *batches* in parts of some 10,000 rows, or of one batch with more, loaded when asked for."""
    some: list[Rows] = []
    for batch in batches:
        some.append(Rows.of([unit for record in batch.load() for unit in record.outcome.units]))
        if sum(each.count_of_rows for each in some) >= _FRAME_ROWS:
            yield joined_rows(some)
            some = []
    if some:
        yield joined_rows(some)


def _slowest(some: Iterable[_T]) -> list[_T]:
    return heapq.nlargest(SLOWEST, some, key=attrgetter("seconds"))
