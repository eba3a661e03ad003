"""Outcomes as rows: stored with the rule of what replaces what, and read back."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields
from functools import cache, lru_cache
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Dialect, RowMapping, Select, literal_column, or_
from sqlalchemy.dialects import postgresql, sqlite

from project_fanout.engine.ledger.entry import LedgerEntry, LedgerFilter, LedgerScope
from project_fanout.engine.ledger.schema import OUTCOMES, AnyText, JsonText, digest, stored_json, stored_text
from project_fanout.engine.model import EarlierAttempt, UnitError, UnitOutcome
from project_fanout.engine.values import Encoded, bundle, unbundle

_KEY = ("scope_id", "stage_index", "record_id", "unit_id")
_key = itemgetter(*_KEY)
#: Most values in one IN (...): SQLite before 3.32 takes 999 parameters in all, and a key has four.
_MOST_VALUES = 200


def store(connection: Connection, batch: Sequence[LedgerEntry]) -> None:
    """Insert or update the rows of *batch*."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in batch:
        row = _row(entry)
        key = _key(row)
        if entry.outcome.succeeded or rows.get(key, row)["status"] != "succeeded":
            rows[key] = row
    if not rows:
        return
    # In the order of their keys, so that two writers never wait for each other.
    in_order = [rows[key] for key in sorted(rows)]
    dialect = connection.dialect
    if dialect.name == "sqlite":
        # Past SQLAlchemy, which takes 100 microseconds for the parameters of a row where SQLite needs 10 for the row.
        statement, names = _text_and_names(dialect)
        connection.exec_driver_sql(statement, [_stored(row, names) for row in in_order])
    else:
        connection.execute(_upsert(dialect.name), in_order)


@cache
def _upsert(dialect: str) -> Any:
    """Return the statement that keeps a success which another writer may just have committed."""
    statement: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[dialect](OUTCOMES)
    success: Any = literal_column("'succeeded'")
    return statement.on_conflict_do_update(
        index_elements=_KEY,
        set_={
            column.name: statement.excluded[column.name] for column in OUTCOMES.c if column.name not in _KEY
        },
        where=or_(OUTCOMES.c.status != success, statement.excluded.status == success),
    )


@lru_cache(maxsize=4)
def _text_and_names(dialect: Dialect) -> tuple[str, Callable[[dict[str, Any]], tuple[Any, ...]]]:
    """Return the statement as text, and what puts a row in the order of its parameters."""
    compiled = _upsert(dialect.name).compile(dialect=dialect)
    return str(compiled), itemgetter(*compiled.positiontup)


_STORED_AS: dict[type, Callable[[str], str]] = {AnyText: stored_text, JsonText: stored_json}
_OF_TEXTS = [
    (column.name, _STORED_AS[type(column.type)]) for column in OUTCOMES.c if type(column.type) in _STORED_AS
]


def _stored(row: dict[str, Any], in_order: Callable[[dict[str, Any]], tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return the parameters of *row*, as the columns' types would make them."""
    for name, stored in _OF_TEXTS:
        if (value := row[name]) is not None:
            row[name] = stored(value)
    return in_order(row)


# What stands in the table as it does in the outcome; what does not is JSON there.
_SAME = tuple(field.name for field in fields(UnitOutcome) if field.name in OUTCOMES.c)
_same = attrgetter(*_SAME)


def _row(entry: LedgerEntry) -> dict[str, Any]:
    scope, outcome = entry.scope, entry.outcome
    encoded, error = outcome.encoded, outcome.error
    is_json = encoded is None or isinstance(encoded, str)
    return {
        **dict(zip(_SAME, _same(outcome), strict=True)),
        "scope_id": scope_id(scope),
        "record_id": digest(outcome.record_key),
        "unit_id": digest(outcome.unit_key),
        "lineage": scope.lineage,
        "asset": scope.asset,
        "partition_key": scope.partition,
        "run_id": entry.run_id,
        "code_version": entry.code_version,
        "fingerprint": entry.fingerprint,
        "result_json": encoded if is_json else None,
        "packed": None if encoded is None or is_json else bundle([encoded]),
        **_fanout_columns(outcome.fanout),
        "error_json": None if error is None else json.dumps(asdict(error)),
        "earlier_json": json.dumps(outcome.earlier) if outcome.earlier else None,
        "input": entry.input,
    }


def _fanout_columns(fanout: Sequence[tuple[str, Encoded]] | None) -> dict[str, Any]:
    if fanout is None:
        return {"fanout_json": None}
    if all(isinstance(payload, str) for _, payload in fanout):
        return {"fanout_json": json.dumps(fanout, separators=(",", ":"))}
    keys = json.dumps([key for key, _ in fanout], separators=(",", ":"))
    return {"fanout_json": keys, "packed": bundle([payload for _, payload in fanout])}


def entry_of(row: RowMapping) -> LedgerEntry:
    """Return the outcome that a row of the table holds.

    Raises:
        DamagedValueError: somebody has changed the row.
    """
    fanout, error, packed = row["fanout_json"], row["error_json"], row["packed"]
    values = () if packed is None else unbundle(packed)
    if fanout is None:
        children = None
    elif packed is None:
        children = tuple((key, payload) for key, payload in json.loads(fanout))
    else:
        children = tuple(zip(json.loads(fanout), values, strict=True))
    earlier = row["earlier_json"]
    outcome = UnitOutcome(
        # Rows of an earlier release hold nothing where it had no such figure.
        **{name: row[name] for name in _SAME if row[name] is not None},
        earlier=tuple(EarlierAttempt(*each) for each in json.loads(earlier)) if earlier else (),
        encoded=values[0] if values and fanout is None else row["result_json"],
        fanout=children,
        error=None if error is None else UnitError(**json.loads(error)),
    )
    scope = LedgerScope(row["lineage"], row["asset"], row["partition_key"])
    return LedgerEntry(scope, row["run_id"], row["code_version"], row["fingerprint"], outcome, row["input"])


def in_order(query: Select[Any]) -> Select[Any]:
    """Return *query* with its rows in the order in which they ended."""
    return query.order_by(OUTCOMES.c.ended_at, *(OUTCOMES.c[name] for name in _KEY))


def scope_id(scope: LedgerScope) -> str:
    """Return what stands for *scope* in the table's key."""
    return digest(scope.lineage, scope.asset, scope.partition)


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cut *values* into pieces that fit into one IN (...)."""
    for start in range(0, len(values), _MOST_VALUES):
        yield values[start : start + _MOST_VALUES]


def conditions(chosen: LedgerFilter) -> list[ColumnElement[bool]]:
    """Return *chosen* as conditions on the table."""
    columns = {
        OUTCOMES.c.lineage: chosen.lineage,
        OUTCOMES.c.asset: chosen.asset,
        OUTCOMES.c.partition_key: chosen.partition,
        OUTCOMES.c.record_key: chosen.record_key,
        OUTCOMES.c.status: chosen.status,
    }
    return [column == value for column, value in columns.items() if value is not None]
