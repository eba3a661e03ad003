"""The ledger's tables, and how texts of any kind get into and out of them unchanged."""

import hashlib
import json
import re
from typing import Any

from sqlalchemy import Column, Dialect, Double, Index, Integer, MetaData, String, Table, Text, TypeDecorator
from sqlalchemy.dialects.mysql import LONGTEXT
from sqlalchemy.types import TypeEngine

#: Version of the tables below; stored beside them and compared when a ledger is opened.
SCHEMA_VERSION = 1

#: Characters of a digest: 128 bits of SHA-256.
_DIGEST = 32


class _LongText(TypeDecorator[str]):
    """Text without a limit that matters; MySQL's TEXT would end at 64 KiB."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of *dialect*."""
        long = dialect.name in ("mysql", "mariadb")
        return dialect.type_descriptor(LONGTEXT() if long else Text())


class AnyText(_LongText):
    """Any text as the inside of a JSON string in ASCII.

    PostgreSQL refuses NUL in a text, and what else a database takes depends on its encoding; ASCII
    goes into all of them.
    """

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002  # SQLAlchemy's signature
        """Return what is stored of *value*."""
        return None if value is None else json.dumps(value)[1:-1]

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002  # SQLAlchemy's signature
        """Return the text again."""
        return None if value is None else str(json.loads(f'"{value}"'))


class JsonText(_LongText):
    """JSON text; what is not ASCII in it is escaped as JSON does, so that it stays the same JSON."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002  # SQLAlchemy's signature
        """Return what is stored of *value*."""
        if value is None or value.isascii():
            return value
        return re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], value)


METADATA = MetaData()

# The names start with fanout_ because the database may also be Dagster's own.
SCHEMA = Table("fanout_ledger_schema", METADATA, Column("version", Integer, primary_key=True))

OUTCOMES = Table(
    "fanout_outcomes",
    METADATA,
    # The key holds digests because texts of any length fit into no index. Its order serves
    # all lookups: the outcomes of a scope, and of a record in a stage, stand side by side.
    Column("scope_id", String(_DIGEST), primary_key=True),
    Column("stage_index", Integer, primary_key=True, autoincrement=False),
    Column("record_id", String(_DIGEST), primary_key=True),
    Column("unit_id", String(_DIGEST), primary_key=True),
    Column("lineage", AnyText, nullable=False),
    Column("asset", AnyText, nullable=False),
    Column("partition_key", AnyText, nullable=False),
    Column("run_id", AnyText, nullable=False),
    Column("record_key", AnyText, nullable=False),
    Column("stage", AnyText, nullable=False),
    Column("unit_key", AnyText, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("code_version", AnyText, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("result_json", JsonText),
    Column("fanout_json", JsonText),
    Column("error_json", JsonText),
    Column("ended_at", Double, nullable=False),
    Index("fanout_outcomes_fingerprint", "fingerprint"),
)

CLAIMS = Table(
    "fanout_claims",
    METADATA,
    Column("namespace_id", String(_DIGEST), primary_key=True),
    Column("key_id", String(_DIGEST), primary_key=True),
    Column("namespace", AnyText, nullable=False),
    Column("claim_key", AnyText, nullable=False),
    Column("state", String(16), nullable=False),
    Column("token", String(_DIGEST), nullable=False),
    Column("run_id", AnyText, nullable=False),
    Column("claimed_at", Double, nullable=False),
    Column("confirmed_at", Double),
    Column("detail_json", JsonText),
)


def digest(*texts: str) -> str:
    """Return 32 hexadecimal digits that stand for *texts* in an index."""
    return hashlib.sha256(json.dumps(texts).encode("ascii")).hexdigest()[:_DIGEST]
