"""The durable store of unit outcomes; what makes a killed run cheap to resume."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, delete, func, select

from project_fanout.engine.closing import Closing
from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger.database import LedgerDatabase
from project_fanout.engine.ledger.entry import (
    InWork,
    LedgerEntry,
    LedgerFilter,
    LedgerScope,
    LedgerSummary,
    Pruned,
    RunNews,
    Taken,
)
from project_fanout.engine.ledger.in_work import UnitId, died, forget, forget_scope, note, unit_id
from project_fanout.engine.ledger.rates import shared_rate
from project_fanout.engine.ledger.rows import chunks, conditions, entry_of, in_order, scope_id, store
from project_fanout.engine.ledger.runs import forget_runs, note_reuse, note_runs
from project_fanout.engine.ledger.schema import OUTCOMES, digest
from project_fanout.engine.ledger.value_notes import (
    forget_values,
    note_values,
    noted_values,
    urls_of_values,
)
from project_fanout.engine.ledger.writer import BatchWriter
from project_fanout.engine.rate import Rate
from project_fanout.engine.values import ValueStore, encoded_size, sync

_T = TypeVar("_T")

# Of so many units of a resumed run the note that they are in work is on disk before they start: what has killed the
# run before is among the first that it lacks.
_CAREFUL_UNITS = 100
# The note of others is written when they have been in work for so long.
_LONG_S = 0.2


@dataclass(eq=False)
class Ledger(Closing):
    """Unit outcomes in a database; safe to use from many threads, and by many runs at once.

    An outcome replaces an earlier one of the same unit in the same stage and scope, except that only a
    success replaces a success. Use it as a context manager, or call `close`.

    Args:
        url: an SQLAlchemy URL or the path of an SQLite file. SQLite and PostgreSQL are tested.
        create: make the folder, the file and the tables where they are missing.
        lock_timeout_s: seconds to wait while another process keeps the database locked.
        max_waiting: most outcomes that wait to be written; `put` is held up beyond.

    Raises:
        LedgerError: the database cannot be opened or written, or has another version's tables.
    """

    url: str | Path
    create: bool = True
    lock_timeout_s: float = 60.0
    max_waiting: int = 10_000
    _database: LedgerDatabase = field(init=False)
    _writer: BatchWriter[LedgerEntry | InWork | RunNews] = field(init=False)
    _news: deque[RunNews] = field(default_factory=deque, init=False)
    # Units that have begun and are not noted yet: when, and which.
    _begun: dict[tuple[LedgerScope, int, str, str], tuple[float, InWork]] = field(
        default_factory=dict, init=False
    )
    # Units that stand in the database as in work: noted by this object, and by runs that have died.
    _in_work: set[UnitId] = field(default_factory=set, init=False)
    _left: set[UnitId] = field(default_factory=set, init=False)
    _careful: int = field(default=_CAREFUL_UNITS, init=False)
    _noted: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._database = LedgerDatabase(self.url, create=self.create, lock_timeout_s=self.lock_timeout_s)
        self._writer = BatchWriter(
            self._write, _size, lambda each: isinstance(each, LedgerEntry), max_items=self.max_waiting
        )

    @property
    def name(self) -> str:
        """What messages call it: the file, or the URL without password."""
        return self._database.name

    def put(self, entry: LedgerEntry) -> None:
        """Store *entry*; returns at once, and a thread writes it within some tenths of a second.

        Waits only while `max_waiting` others or 64 MiB of them are not written.

        Raises:
            LedgerError: an earlier outcome could not be written, or the ledger is closed.
        """
        if self._begun:
            outcome = entry.outcome
            key = (entry.scope, outcome.stage_index, outcome.record_key, outcome.unit_key)
            self._begun.pop(key, None)
        self._writer.put(entry)

    def begin(self, unit: InWork, *, is_resumed: bool) -> None:
        """Note that *unit* is about to be in work; one that ends within some tenths of a second leaves no trace.

        Args:
            unit: the unit.
            is_resumed: whether an earlier run of the lineage may have died of it: of the first hundred of such a run
                the note is on disk when this returns.

        Raises:
            LedgerError: it could not be written.
        """
        if is_resumed and self._careful:
            self._careful -= 1
            self._writer.put(unit)
            self._writer.flush()
        else:
            # No lock and no work for the thread: most units have ended before anybody looks.
            key = (unit.scope, unit.stage_index, unit.record_key, unit.unit_key)
            self._begun[key] = (time.monotonic(), unit)
            self._writer.nudge()

    def note_run(self, news: RunNews) -> None:
        """Note what has changed with a run; returns at once, and a thread writes it within some tenths of a second.

        It goes with the next outcomes: a commit of its own would hold these up.
        """
        self._news.append(news)
        self._writer.nudge()

    def note_reuse(self, scope: LedgerScope, stage_index: int, reused: Sequence[Taken]) -> None:
        """Note which results *scope* takes from other lineages in a stage.

        Raises:
            LedgerError: the database cannot be written.
        """
        self._database.write(lambda connection: note_reuse(connection, scope, stage_index, reused))

    def read(self, query: Callable[[Connection], _T]) -> _T:
        """Return what *query* returns of a connection that only reads.

        Raises:
            LedgerError: the database cannot be read.
        """
        return self._database.read(query)

    def died(self, scope: LedgerScope, stage_index: int, run_id: str) -> Callable[[str, str], int]:
        """Return what tells of a record key and a unit key in how many runs the unit was in work when they died.

        Args:
            scope: the lineage, asset and partition.
            stage_index: the stage's place.
            run_id: the run that asks, which has not died.

        Raises:
            LedgerError: the database cannot be read.
        """
        found = self._database.read(lambda connection: died(connection, scope, stage_index, run_id))
        self._left.update((scope_id(scope), stage_index, *ids) for ids in found)
        return lambda record_key, unit_key: found.get((digest(record_key), digest(unit_key)), 0)

    def flush(self) -> None:
        """Return when everything that was put before is on disk; after a failure, try once more.

        Raises:
            LedgerError: it could not be written. It is kept, so that another flush can write it.
        """
        for each in self._taken_news():
            self._writer.put(each)
        self._writer.flush()

    def close(self) -> None:
        """Flush, and close the connections; safe to call twice.

        What is still in work is so no longer: who closes a ledger has not died.

        Raises:
            LedgerError: what was put before could not be written.
        """
        try:
            for each in self._taken_news():
                self._writer.put(each)
            self._writer.close()
            if left := sorted(self._in_work):
                self._database.write(lambda connection: forget(connection, left))
                self._in_work.clear()
        finally:
            self._database.close()

    def knows(self, scope: LedgerScope) -> bool:
        """Tell whether any outcome of *scope* has been written, of whatever status.

        Raises:
            LedgerError: the database cannot be read.
        """
        query = select(OUTCOMES.c.scope_id).where(OUTCOMES.c.scope_id == scope_id(scope)).limit(1)
        return self._database.read(lambda connection: connection.scalar(query)) is not None

    def value_store(self, scope: LedgerScope, root: str, spill_bytes: int) -> ValueStore:
        """Return the store for large values of *scope*: a folder below *root* that `prune` will find.

        Raises:
            LedgerError: the database cannot be written.
        """
        store = ValueStore(f"{root.rstrip('/')}/{scope_id(scope)}", spill_bytes)
        if store.url not in self._noted:
            self._database.write(lambda connection: note_values(connection, scope, store.url))
            self._noted.add(store.url)
        return store

    def rate(self, name: str, per_second: float) -> Rate:
        """Return the rate *name*, which all who use this ledger share."""
        return shared_rate(self._database, name, per_second)

    def successes(
        self, scope: LedgerScope, stage_index: int, record_keys: Iterable[str]
    ) -> dict[tuple[str, str], LedgerEntry]:
        """Return the successes of *record_keys* in a stage by (record key, unit key).

        Those that this object was given are found even before they are written.

        Raises:
            LedgerError: the database cannot be read.
        """
        return self._outcomes(scope, stage_index, record_keys, succeeded=True)

    def failures(
        self, scope: LedgerScope, stage_index: int, record_keys: Iterable[str]
    ) -> dict[tuple[str, str], LedgerEntry]:
        """Return the outcomes without success, as `successes` does those with it.

        Raises:
            LedgerError: the database cannot be read.
        """
        return self._outcomes(scope, stage_index, record_keys, succeeded=False)

    def _outcomes(
        self, scope: LedgerScope, stage_index: int, record_keys: Iterable[str], *, succeeded: bool
    ) -> dict[tuple[str, str], LedgerEntry]:
        wanted = set(record_keys)
        # Looked at before the database: what has been written by then is found there.
        waiting = [
            entry
            for entry in self._writer.waiting()
            if isinstance(entry, LedgerEntry)
            and entry.outcome.succeeded == succeeded
            and entry.scope == scope
            and entry.outcome.stage_index == stage_index
            and entry.outcome.record_key in wanted
        ]
        found: dict[tuple[str, str], LedgerEntry] = {}
        for some in chunks(sorted(map(digest, wanted))):
            query = select(OUTCOMES).where(
                OUTCOMES.c.scope_id == scope_id(scope),
                OUTCOMES.c.stage_index == stage_index,
                OUTCOMES.c.record_id.in_(some),
                (OUTCOMES.c.status == "succeeded") if succeeded else (OUTCOMES.c.status != "succeeded"),
            )
            found.update((_unit(entry), entry) for entry in self._read(query))
        found.update((_unit(entry), entry) for entry in waiting)
        return found

    def successes_anywhere(
        self,
        asset: str,
        stage_index: int,
        fingerprints: Iterable[str],
        *,
        code_version: str,
        partition: str | None = None,
    ) -> dict[str, LedgerEntry]:
        """Return by fingerprint the newest success of any lineage that was computed with *code_version*.

        Args:
            asset: the asset's key as text.
            stage_index: the stage's place.
            fingerprints: what is looked for.
            code_version: the asset's code version.
            partition: only outcomes of this partition; None for those of any.

        Raises:
            LedgerError: the database cannot be read.
        """
        matching = [
            OUTCOMES.c.asset == asset,
            OUTCOMES.c.stage_index == stage_index,
            OUTCOMES.c.code_version == code_version,
            OUTCOMES.c.status == "succeeded",
        ]
        if partition is not None:
            matching.append(OUTCOMES.c.partition_key == partition)
        age = func.row_number().over(
            partition_by=OUTCOMES.c.fingerprint, order_by=[OUTCOMES.c.ended_at.desc(), OUTCOMES.c.unit_id]
        )
        found: dict[str, LedgerEntry] = {}
        for some in chunks(sorted(set(fingerprints))):
            chosen = select(OUTCOMES, age.label("age")).where(OUTCOMES.c.fingerprint.in_(some), *matching)
            by_age = chosen.subquery()
            newest = select(*(by_age.c[column.name] for column in OUTCOMES.c)).where(by_age.c.age == 1)
            found.update((entry.fingerprint, entry) for entry in self._read(newest))
        return found

    def scopes(self, chosen: LedgerFilter | None = None) -> list[LedgerSummary]:
        """Return what the ledger holds by lineage, asset and partition, the newest first.

        Raises:
            LedgerError: the database cannot be read.
        """
        table = OUTCOMES.c
        names = (table.lineage, table.asset, table.partition_key)
        lengths = [
            func.coalesce(func.length(text), 0)
            for text in (table.result_json, table.fanout_json, table.packed, table.error_json)
        ]
        query = (
            select(
                *names,
                table.status,
                func.count().label("units"),
                func.min(table.ended_at).label("first_at"),
                func.max(table.ended_at).label("last_at"),
                func.sum(lengths[0] + lengths[1] + lengths[2] + lengths[3]).label("size_bytes"),
            )
            .where(*conditions(chosen or LedgerFilter()))
            .group_by(*names, table.status)
        )
        by_scope: dict[LedgerScope, list[Any]] = {}
        for row in self._database.read(lambda connection: connection.execute(query).all()):
            by_scope.setdefault(LedgerScope(row[0], row[1], row[2]), []).append(row)
        found = [
            LedgerSummary(
                scope,
                {row.status: row.units for row in sorted(rows, key=lambda row: str(row.status))},
                min(row.first_at for row in rows),
                max(row.last_at for row in rows),
                sum(int(row.size_bytes) for row in rows),
            )
            for scope, rows in by_scope.items()
        ]
        known = {summary.scope for summary in found}
        noted = self._database.read(lambda connection: noted_values(connection, chosen or LedgerFilter()))
        found += [LedgerSummary(scope, {}, at, at, 0) for scope, at in noted.items() if scope not in known]
        return sorted(
            found,
            key=lambda each: (-each.last_at, each.scope.lineage, each.scope.asset, each.scope.partition),
        )

    def entries(self, chosen: LedgerFilter, *, limit: int | None = None) -> list[LedgerEntry]:
        """Return the outcomes that *chosen* names, in the order in which they ended.

        Raises:
            LedgerError: the database cannot be read.
        """
        return self._read(in_order(select(OUTCOMES).where(*conditions(chosen))).limit(limit))

    def prune(
        self,
        chosen: LedgerFilter | None = None,
        *,
        ended_before: float | None = None,
        keep_last: int | None = None,
    ) -> Pruned:
        """Remove scopes as a whole, their outcomes and large values: those that meet every condition given.

        Args:
            chosen: of these lineages, assets and partitions.
            ended_before: whose last outcome ended before this time, in seconds since 1970 (UTC).
            keep_last: that are not among this many newest of their asset and partition.

        Raises:
            LedgerError: no condition is given, or the database cannot be written.
        """
        chosen = chosen or LedgerFilter()
        if chosen.record_key is not None or chosen.status is not None:
            raise LedgerError(
                "prune removes whole lineages, assets and partitions, not single records or statuses."
            )
        if not conditions(chosen) and ended_before is None and keep_last is None:
            raise LedgerError(
                "prune without a condition would remove everything: give a lineage, an asset, a partition, "
                "ended_before or keep_last."
            )
        newer: dict[tuple[str, str], int] = {}
        scopes = outcomes = 0
        for each in self.scopes(chosen):
            kind = (each.scope.asset, each.scope.partition)
            newer[kind] = newer.get(kind, 0) + 1
            if keep_last is not None and newer[kind] <= keep_last:
                continue
            if ended_before is not None and each.last_at >= ended_before:
                continue
            outcomes += self._remove(each.scope)
            scopes += 1
        self._database.reclaim()
        return Pruned(scopes, outcomes)

    def _remove(self, scope: LedgerScope) -> int:
        statement = delete(OUTCOMES).where(OUTCOMES.c.scope_id == scope_id(scope))
        removed = self._database.write(lambda connection: connection.execute(statement).rowcount)
        # The note last: a prune that is killed in between is finished by the next one.
        for url in self._database.read(lambda connection: urls_of_values(connection, scope)):
            try:
                ValueStore(url).remove()
            except (OSError, ImportError) as error:
                raise LedgerError(
                    f"The values of {scope.asset} in {url} cannot be removed: {error}. Remove them yourself, or "
                    "see that this machine may, and prune again."
                ) from error
        self._database.write(lambda connection: forget_values(connection, scope))
        self._database.write(lambda connection: forget_scope(connection, scope))
        self._database.write(lambda connection: forget_runs(connection, scope))
        self._noted.clear()
        return removed

    def _read(self, query: Select[Any]) -> list[LedgerEntry]:
        return self._database.read(
            lambda connection: [entry_of(row) for row in connection.execute(query).mappings()]
        )

    def _write(self, batch: Sequence[LedgerEntry | InWork | RunNews]) -> None:
        runs = [*(each for each in batch if isinstance(each, RunNews)), *(news := self._taken_news())]
        outcomes = [each for each in batch if isinstance(each, LedgerEntry)]
        begun_here = [each for each in batch if isinstance(each, InWork)] + self._long_begun()
        over = {unit_id(each) for each in outcomes} if begun_here or self._in_work or self._left else set()
        begun = {unit: each for each in begun_here if (unit := unit_id(each)) not in over}
        ended = over & (self._in_work | self._left)
        # Before the rows that name them, so that a ledger never holds a success whose value a power cut has taken.
        try:
            sync(value for entry in outcomes for value in entry.outcome.stored)
        except OSError as error:
            raise LedgerError(f"The values of ledger {self.name} could not be written: {error}.") from error

        def write(connection: Connection) -> None:
            store(connection, outcomes)
            note(connection, begun, ended)
            note_runs(connection, runs)

        try:
            if outcomes or begun or runs:
                self._database.write(write)
        except LedgerError:
            self._news.extendleft(reversed(news))
            raise
        self._in_work = (self._in_work - ended) | begun.keys()

    def _taken_news(self) -> list[RunNews]:
        """Return, once, what is to be noted of runs."""
        taken = []
        with suppress(IndexError):
            while True:
                taken.append(self._news.popleft())
        return taken

    def _long_begun(self) -> list[InWork]:
        """Return, once, the units that have been in work for longer than most are."""
        long_ago = time.monotonic() - _LONG_S
        begun = [key for key, (at, _) in tuple(self._begun.items()) if at < long_ago]
        taken = [each for key in begun if (each := self._begun.pop(key, None)) is not None]
        if self._begun:
            self._writer.nudge()
        return [unit for _, unit in taken]


def _unit(entry: LedgerEntry) -> tuple[str, str]:
    return entry.outcome.record_key, entry.outcome.unit_key


def _size(entry: LedgerEntry | InWork | RunNews) -> int:
    """Return about how many bytes *entry* takes."""
    if not isinstance(entry, LedgerEntry):
        return 500
    outcome, error = entry.outcome, entry.outcome.error
    texts = len(error.message) + len(error.traceback) if error else 0
    children = sum(100 + len(key) + encoded_size(payload) for key, payload in outcome.fanout or ())
    return 1000 + texts + encoded_size(outcome.encoded) + children
