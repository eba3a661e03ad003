"""Values as they travel and as they are stored: encoded once, decoded where somebody works with them."""

from project_fanout.engine.values.beginning import beginning
from project_fanout.engine.values.bundle import bundle, unbundle
from project_fanout.engine.values.codec import Encoded, decode, decode_columns, encode, encoded_size, identity
from project_fanout.engine.values.json_text import to_json
from project_fanout.engine.values.store import SPILL_BYTES, StoredValue, ValueStore, sync

__all__ = [
    "SPILL_BYTES",
    "Encoded",
    "StoredValue",
    "ValueStore",
    "beginning",
    "bundle",
    "decode",
    "decode_columns",
    "encode",
    "encoded_size",
    "identity",
    "sync",
    "to_json",
    "unbundle",
]
