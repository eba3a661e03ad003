"""The durable store of unit outcomes; what makes a killed run cheap to resume."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, tuple_, update
from sqlalchemy.sql.expression import bindparam

from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger_database import LedgerDatabase
from project_fanout.engine.ledger_schema import OUTCOMES, digest
from project_fanout.engine.ledger_writer import BatchWriter
from project_fanout.engine.model import Status, UnitError

_KEY = ("scope_id", "stage_index", "record_id", "unit_id")
#: Most values in one IN (...): SQLite before 3.32 takes 999 parameters in all.
_MOST_VALUES = 200


@dataclass(frozen=True, slots=True)
class LedgerScope:
    """Whose outcomes: units are found again only within the same scope.

    Args:
        lineage: id of the root run; a run and all its re-executions share it.
        asset: the asset's key as text.
        partition: the partition's key, "" for an asset without partitions.
    """

    lineage: str
    asset: str
    partition: str = ""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What became of one unit in one stage.

    Args:
        scope: the lineage, asset and partition that it belongs to.
        run_id: the run that computed it.
        record_key: the record that the unit belongs to.
        stage: the stage's name.
        stage_index: the stage's place, 0 for the first.
        unit_key: the unit's key.
        fingerprint: of what it was computed from, see `unit_fingerprint`.
        code_version: the asset's code version, "" without one.
        status: succeeded | failed | timed_out | crashed.
        attempts: how often it was started.
        seconds: time in the worker, all attempts together.
        ended_at: when it ended, in seconds since 1970 (UTC).
        result_json: the stage's result as JSON text, when it returned an ordinary one.
        fanout: key and payload (JSON text) of each unit, when it returned a `Fanout`.
        error: why it did not succeed.
    """

    scope: LedgerScope
    run_id: str
    record_key: str
    stage: str
    stage_index: int
    unit_key: str
    fingerprint: str
    code_version: str
    status: Status
    attempts: int
    seconds: float
    ended_at: float
    result_json: str | None = None
    fanout: tuple[tuple[str, str], ...] | None = None
    error: UnitError | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{64}", self.fingerprint):
            raise LedgerError(f"{self.fingerprint!r} is not a fingerprint: make it with unit_fingerprint().")

    @property
    def succeeded(self) -> bool:
        return self.status == "succeeded"


@dataclass(frozen=True, slots=True)
class LedgerSummary:
    """What the ledger holds of one scope.

    Args:
        scope: lineage, asset and partition.
        units: number of outcomes by status.
        first_at: when the first of them ended, in seconds since 1970 (UTC).
        last_at: when the last of them ended.
        size_bytes: length of their results, fan-outs and errors.
    """

    scope: LedgerScope
    units: Mapping[str, int]
    first_at: float
    last_at: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """What `Ledger.prune` removed: number of scopes, and of outcomes in them."""

    scopes: int
    outcomes: int


@dataclass(frozen=True, slots=True)
class LedgerFilter:
    """Which outcomes are meant; a field that is None does not choose.

    Args:
        lineage: root run id.
        asset: asset key.
        partition: partition key.
        record_key: record key.
        status: succeeded | failed | timed_out | crashed.
    """

    lineage: str | None = None
    asset: str | None = None
    partition: str | None = None
    record_key: str | None = None
    status: Status | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        columns = {
            OUTCOMES.c.lineage: self.lineage,
            OUTCOMES.c.asset: self.asset,
            OUTCOMES.c.partition_key: self.partition,
            OUTCOMES.c.record_key: self.record_key,
            OUTCOMES.c.status: self.status,
        }
        return [column == value for column, value in columns.items() if value is not None]


def unit_fingerprint(stage_reference: str, payload_json: str, params_json: str) -> str:
    """Return the SHA-256 of what a unit's result depends on: the stage, its payload and its params."""
    text = json.dumps([stage_reference, payload_json, params_json])
    return hashlib.sha256(text.encode("ascii")).hexdigest()


@dataclass(eq=False)
class Ledger:
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
    _writer: BatchWriter[LedgerEntry] = field(init=False)

    def __post_init__(self) -> None:
        self._database = LedgerDatabase(self.url, create=self.create, lock_timeout_s=self.lock_timeout_s)
        self._writer = BatchWriter(self._write, _size, max_items=self.max_waiting)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """What messages call it: the file, or the URL without password."""
        return self._database.name

    def put(self, entry: LedgerEntry) -> None:
        """Store *entry*; returns at once, and a thread writes it within half a second.

        Waits only while `max_waiting` others or 64 MiB of them are not written.

        Raises:
            LedgerError: an earlier outcome could not be written, or the ledger is closed.
        """
        self._writer.put(entry)

    def flush(self) -> None:
        """Return when everything that was put before is on disk; after a failure, try once more.

        Raises:
            LedgerError: it could not be written. It is kept, so that another flush can write it.
        """
        self._writer.flush()

    def close(self) -> None:
        """Flush, and close the connections; safe to call twice.

        Raises:
            LedgerError: what was put before could not be written.
        """
        try:
            self._writer.close()
        finally:
            self._database.close()

    def successes(
        self, scope: LedgerScope, stage_index: int, record_keys: Iterable[str]
    ) -> dict[tuple[str, str], LedgerEntry]:
        """Return the successes of *record_keys* in a stage by (record key, unit key).

        Those that this object was given are found even before they are written.

        Raises:
            LedgerError: the database cannot be read.
        """
        wanted = set(record_keys)
        # Looked at before the database: what has been written by then is found there.
        waiting = [
            entry
            for entry in self._writer.waiting()
            if entry.scope == scope and entry.stage_index == stage_index and entry.record_key in wanted
        ]
        scope_id = _scope_id(scope)
        found = self._select(
            OUTCOMES.c.record_id,
            sorted(map(digest, wanted)),
            OUTCOMES.c.scope_id == scope_id,
            OUTCOMES.c.stage_index == stage_index,
            OUTCOMES.c.status == "succeeded",
        )
        return {(entry.record_key, entry.unit_key): entry for entry in [*found, *waiting] if entry.succeeded}

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
        conditions = [
            OUTCOMES.c.asset == asset,
            OUTCOMES.c.stage_index == stage_index,
            OUTCOMES.c.code_version == code_version,
            OUTCOMES.c.status == "succeeded",
        ]
        if partition is not None:
            conditions.append(OUTCOMES.c.partition_key == partition)
        age = func.row_number().over(
            partition_by=OUTCOMES.c.fingerprint, order_by=[OUTCOMES.c.ended_at.desc(), OUTCOMES.c.unit_id]
        )
        found: dict[str, LedgerEntry] = {}
        for some in _chunks(sorted(set(fingerprints))):
            by_age = (
                select(OUTCOMES, age.label("age"))
                .where(OUTCOMES.c.fingerprint.in_(some), *conditions)
                .subquery()
            )
            query = select(*(by_age.c[column.name] for column in OUTCOMES.c)).where(by_age.c.age == 1)
            rows = self._database.read(
                lambda connection, query=query: connection.execute(query).mappings().all()
            )
            found.update((entry.fingerprint, entry) for entry in map(_entry, rows))
        return found

    def scopes(self, chosen: LedgerFilter | None = None) -> list[LedgerSummary]:
        """Return what the ledger holds by lineage, asset and partition, the newest first.

        Raises:
            LedgerError: the database cannot be read.
        """
        table = OUTCOMES.c
        names = (table.lineage, table.asset, table.partition_key)
        texts = (table.result_json, table.fanout_json, table.error_json)
        size = sum(
            (func.coalesce(func.length(text), 0) for text in texts[1:]),
            func.coalesce(func.length(texts[0]), 0),
        )
        query = (
            select(
                *names,
                table.status,
                func.count().label("units"),
                func.min(table.ended_at).label("first_at"),
                func.max(table.ended_at).label("last_at"),
                func.sum(size).label("size_bytes"),
            )
            .where(*(chosen or LedgerFilter()).conditions())
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
        return sorted(
            found,
            key=lambda each: (-each.last_at, each.scope.lineage, each.scope.asset, each.scope.partition),
        )

    def entries(self, chosen: LedgerFilter, *, limit: int | None = None) -> list[LedgerEntry]:
        """Return the outcomes that *chosen* names, in the order in which they ended.

        Raises:
            LedgerError: the database cannot be read.
        """
        query = (
            select(OUTCOMES)
            .where(*chosen.conditions())
            .order_by(OUTCOMES.c.ended_at, *(OUTCOMES.c[name] for name in _KEY))
            .limit(limit)
        )
        rows = self._database.read(lambda connection: connection.execute(query).mappings().all())
        return [_entry(row) for row in rows]

    def prune(
        self,
        chosen: LedgerFilter | None = None,
        *,
        ended_before: float | None = None,
        keep_last: int | None = None,
    ) -> Pruned:
        """Remove scopes as a whole: those that meet every condition given.

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
        if not chosen.conditions() and ended_before is None and keep_last is None:
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
        statement = delete(OUTCOMES).where(OUTCOMES.c.scope_id == _scope_id(scope))
        return self._database.write(lambda connection: connection.execute(statement).rowcount)

    def _select(
        self, column: ColumnElement[Any], values: Sequence[str], *conditions: ColumnElement[bool]
    ) -> Iterator[LedgerEntry]:
        for some in _chunks(values):
            query = select(OUTCOMES).where(*conditions, column.in_(some))
            rows = self._database.read(
                lambda connection, query=query: connection.execute(query).mappings().all()
            )
            yield from map(_entry, rows)

    def _write(self, batch: Sequence[LedgerEntry]) -> None:
        self._database.write(lambda connection: _store(connection, batch))


def _store(connection: Connection, batch: Sequence[LedgerEntry]) -> None:
    """Insert or update the rows of *batch*, in plain SQL that every database knows."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in batch:
        row = _row(entry)
        key = tuple(row[name] for name in _KEY)
        if entry.succeeded or rows.get(key, row)["status"] != "succeeded":
            rows[key] = row
    columns = [OUTCOMES.c[name] for name in _KEY]
    there: set[tuple[Any, ...]] = set()
    for some in _chunks(sorted(rows)):
        there.update(map(tuple, connection.execute(select(*columns).where(tuple_(*columns).in_(some)))))
    # In the order of their keys, so that two writers never wait for each other.
    if new := [rows[key] for key in sorted(rows) if key not in there]:
        connection.execute(insert(OUTCOMES), new)
    if old := [rows[key] for key in sorted(rows) if key in there]:
        connection.execute(_UPDATE, [{f"new_{name}": value for name, value in row.items()} for row in old])


# The condition is part of the statement, so that it holds for what another writer has just committed.
_UPDATE = (
    update(OUTCOMES)
    .where(
        and_(*(OUTCOMES.c[name] == bindparam(f"new_{name}") for name in _KEY)),
        or_(
            OUTCOMES.c.status != "succeeded",
            bindparam("new_status", type_=OUTCOMES.c.status.type) == "succeeded",
        ),
    )
    .values(
        {column.name: bindparam(f"new_{column.name}") for column in OUTCOMES.c if column.name not in _KEY}
    )
)


def _row(entry: LedgerEntry) -> dict[str, Any]:
    return {
        "scope_id": _scope_id(entry.scope),
        "stage_index": entry.stage_index,
        "record_id": digest(entry.record_key),
        "unit_id": digest(entry.unit_key),
        "lineage": entry.scope.lineage,
        "asset": entry.scope.asset,
        "partition_key": entry.scope.partition,
        "run_id": entry.run_id,
        "record_key": entry.record_key,
        "stage": entry.stage,
        "unit_key": entry.unit_key,
        "fingerprint": entry.fingerprint,
        "code_version": entry.code_version,
        "status": entry.status,
        "attempts": entry.attempts,
        "seconds": entry.seconds,
        "result_json": entry.result_json,
        "fanout_json": None if entry.fanout is None else json.dumps(entry.fanout, separators=(",", ":")),
        "error_json": None if entry.error is None else json.dumps(asdict(entry.error)),
        "ended_at": entry.ended_at,
    }


def _entry(row: Mapping[str, Any]) -> LedgerEntry:
    fanout, error = row["fanout_json"], row["error_json"]
    return LedgerEntry(
        scope=LedgerScope(row["lineage"], row["asset"], row["partition_key"]),
        run_id=row["run_id"],
        record_key=row["record_key"],
        stage=row["stage"],
        stage_index=row["stage_index"],
        unit_key=row["unit_key"],
        fingerprint=row["fingerprint"],
        code_version=row["code_version"],
        status=row["status"],
        attempts=row["attempts"],
        seconds=row["seconds"],
        ended_at=row["ended_at"],
        result_json=row["result_json"],
        fanout=None if fanout is None else tuple((key, payload) for key, payload in json.loads(fanout)),
        error=None if error is None else UnitError(**json.loads(error)),
    )


def _scope_id(scope: LedgerScope) -> str:
    return digest(scope.lineage, scope.asset, scope.partition)


def _size(entry: LedgerEntry) -> int:
    """Return about how many bytes *entry* takes."""
    texts = len(entry.result_json or "") + len(entry.error.traceback if entry.error else "")
    return 1000 + texts + sum(100 + len(key) + len(payload) for key, payload in entry.fanout or ())


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _MOST_VALUES):
        yield values[start : start + _MOST_VALUES]
