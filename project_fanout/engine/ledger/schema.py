"""The ledger's tables, and how texts of any kind get into and out of them unchanged."""

import hashlib
import json
import re
from functools import lru_cache

from sqlalchemy import (
    Column,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

#: Version of the tables below; stored beside them. A ledger of an earlier one is upgraded when it is opened.
SCHEMA_VERSION = 4

#: Characters of a digest: 128 bits of SHA-256.
_DIGEST = 32


@lru_cache(maxsize=1000)  # most columns hold the same few texts in every row
def stored_text(text: str) -> str:
    """Return *text* as `AnyText` stores it."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return json.dumps(text)[1:-1]


def stored_json(text: str) -> str:
    """Return *text* as `JsonText` stores it."""
    return text if text.isascii() else re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], text)


class AnyText(TypeDecorator[str]):
    """Any text as the inside of a JSON string in ASCII.

    PostgreSQL refuses NUL in a text, and what else a database takes depends on its encoding; ASCII
    goes into all of them.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002  # SQLAlchemy's signature
        """Return what is stored of *value*."""
        return None if value is None else stored_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002  # SQLAlchemy's signature
        """Return the text again."""
        return value if value is None or "\\" not in value else str(json.loads(f'"{value}"'))


class JsonText(TypeDecorator[str]):
    """JSON text; what is not ASCII in it is escaped as JSON does, so that it stays the same JSON."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002  # SQLAlchemy's signature
        """Return what is stored of *value*."""
        return None if value is None else stored_json(value)


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
    # A result, or the payloads of a fan-out (then only its keys are above), where it is more than JSON.
    Column("packed", LargeBinary),
    Column("error_json", JsonText),
    Column("ended_at", Double, nullable=False),
    Column("cpu_seconds", Double),
    Column("peak_mb", Double),
    Column("worker", AnyText),
    Column("waited", Double),
    # The attempts before the last one: status, seconds and error of each.
    Column("earlier_json", JsonText),
    # How the unit's payload begins.
    Column("input", AnyText),
    Index("fanout_outcomes_fingerprint", "fingerprint"),
)

VALUES = Table(
    "fanout_values",
    METADATA,
    # The folders of large values, each noted before anything is put into it, so that prune finds them all.
    Column("scope_id", String(_DIGEST), primary_key=True),
    Column("url", AnyText, primary_key=True),
    Column("lineage", AnyText, nullable=False),
    Column("asset", AnyText, nullable=False),
    Column("partition_key", AnyText, nullable=False),
    Column("noted_at", Double, nullable=False),
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


IN_WORK = Table(
    "fanout_in_work",
    METADATA,
    # The units that a run has begun and not ended: what is left here when it has died was in work then.
    Column("scope_id", String(_DIGEST), primary_key=True),
    Column("stage_index", Integer, primary_key=True, autoincrement=False),
    Column("record_id", String(_DIGEST), primary_key=True),
    Column("unit_id", String(_DIGEST), primary_key=True),
    Column("run_id", AnyText, nullable=False),
    # This one included.
    Column("runs", Integer, nullable=False),
)

RUNS = Table(
    "fanout_runs",
    METADATA,
    # What a run has found of records and units, and whether it is over: the outcomes above do not tell.
    Column("run_id", AnyText, primary_key=True),
    Column("scope_id", String(_DIGEST), primary_key=True),
    Column("lineage", AnyText, nullable=False),
    Column("asset", AnyText, nullable=False),
    Column("partition_key", AnyText, nullable=False),
    Column("began_at", Double, nullable=False),
    Column("places", Integer, nullable=False),
    Column("stages_json", JsonText, nullable=False),
    Column("records", Integer, nullable=False),
    Column("units", Integer, nullable=False),
    Column("found_all", Integer, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("state", String(16), nullable=False),
    Column("error", AnyText),
    Index("fanout_runs_scope", "scope_id"),
)

REUSED = Table(
    "fanout_reused",
    METADATA,
    # Of which record units were taken from another lineage (`reuse: always`), and from which run: no outcome of this
    # scope tells.
    Column("scope_id", String(_DIGEST), primary_key=True),
    Column("stage_index", Integer, primary_key=True, autoincrement=False),
    Column("record_id", String(_DIGEST), primary_key=True),
    Column("from_run_id", AnyText, primary_key=True),
    Column("record_key", AnyText, nullable=False),
    Column("from_lineage", AnyText, nullable=False),
    Column("units", Integer, nullable=False),
)

RATES = Table(
    "fanout_rates",
    METADATA,
    Column("rate_id", String(_DIGEST), primary_key=True),
    Column("name", AnyText, nullable=False),
    # When the next place is free, in seconds since 1970 by the clock of whoever keeps this database.
    Column("free_at", Double, nullable=False),
)


@lru_cache(maxsize=10_000)  # of the same records and scopes again and again
def digest(*texts: str) -> str:
    """Return 32 hexadecimal digits that stand for *texts* in an index."""
    return hashlib.sha256(json.dumps(texts).encode("ascii")).hexdigest()[:_DIGEST]
