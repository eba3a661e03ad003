"""The codec of payloads and results: JSON text where JSON gives a value back as it is, else packed bytes.

Packed bytes are MessagePack with an extension per type (`kinds`), and behind it the buffers of arrays, so that these
are copied once. Nothing in them names code: decoding makes values of a fixed list of types, and runs nothing.
"""

import hashlib
import json
import struct
from collections.abc import Sequence
from typing import Any, TypeAlias

from project_fanout.engine.errors import DamagedValueError
from project_fanout.engine.values.json_text import json_or_none
from project_fanout.engine.values.store import StoredValue, ValueStore

#: A value on its way: JSON text, packed bytes, or, where it is large, the name of the file that holds either.
Encoded: TypeAlias = str | bytes | StoredValue

# 0xC1 begins neither JSON nor MessagePack; the second byte is the version of the format.
_MAGIC = b"\xc1\x01"
# Arrays and frames above that are files as well: in an SQLite ledger 0.5 MB took 5 ms of CPU more.
_LARGEST_IN_A_ROW = 2**16
_COUNT = struct.Struct("<I")
_LENGTH = struct.Struct("<Q")


def encode(value: object, what: str, store: ValueStore | None = None) -> Encoded:
    """Return *value* encoded; in *store*, if there is one, where it is large.

    Args:
        value: any value of docs/values.md.
        what: what messages call it, e.g. "result".
        store: keeps large values.

    Raises:
        UnsupportedValueError: a part of *value* cannot travel; says which, of what type, and what to write instead.
        OSError: the store cannot be written.
    """
    text = json_or_none(value)
    if text is None:
        from project_fanout.engine.values.packing import pack  # noqa: PLC0415  # no worker with JSON needs it

        packed = pack(value, what)
        if not isinstance(packed, str):
            return _kept(_joined(*packed), store)
        text = packed
    return _kept(text, store)


def decode(encoded: Encoded) -> Any:
    """Return the value again.

    Raises:
        DamagedValueError: that is not what `encode` has made, or the file is not there any more.
    """
    return _decoded(encoded.load() if isinstance(encoded, StoredValue) else encoded)


def decode_columns(encoded: Encoded) -> Any:
    """Return a frame as the `tables.Columns` that it is made of, any other value as `decode` does.

    Raises:
        DamagedValueError: as `decode`.
    """
    held = encoded.load() if isinstance(encoded, StoredValue) else encoded
    if not isinstance(held, str) and held[: len(_MAGIC)] == _MAGIC:
        from project_fanout.engine.values.packing import unpack_columns  # noqa: PLC0415  # as `pack`

        if (columns := unpack_columns(*_split(memoryview(held)))) is not None:
            return columns
    return _decoded(held)


def _decoded(held: str | bytes | memoryview) -> Any:
    if not isinstance(held, str):
        if held[: len(_MAGIC)] == _MAGIC:
            from project_fanout.engine.values.packing import unpack  # noqa: PLC0415  # as `pack`

            return unpack(*_split(memoryview(held)))
        held = str(held, "ascii", errors="replace")
    try:
        return json.loads(held)
    except ValueError as error:
        raise DamagedValueError(f"A stored value is no JSON text and not packed either: {error}.") from None


def identity(encoded: Encoded) -> str:
    """Return what stands for the value in fingerprints: the same text for the same value, wherever it is kept."""
    if isinstance(encoded, str):
        return encoded
    if isinstance(encoded, StoredValue):
        return f"sha256:{encoded.digest}"
    return f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def encoded_size(encoded: Encoded | None) -> int:
    """Return how many bytes the value takes on its way and in the ledger."""
    return 200 if isinstance(encoded, StoredValue) else len(encoded or "")


def _kept(content: "str | list[Any]", store: ValueStore | None) -> Encoded:
    """Return what travels of *content*: itself, or where it is now."""
    if isinstance(content, str):
        if store is None or len(content) <= store.spill_bytes:
            return content
        return store.keep([content.encode("ascii")])
    if store is None or sum(map(len, content)) <= min(store.spill_bytes, _LARGEST_IN_A_ROW):
        return b"".join(content)
    return store.keep(content)


def _joined(tree: bytes, buffers: Sequence[memoryview]) -> "list[Any]":
    """Return the parts of what is stored: magic, count of buffers, lengths of tree and buffers, and these."""
    lengths = b"".join(_LENGTH.pack(len(part)) for part in (tree, *buffers))
    return [_MAGIC + _COUNT.pack(len(buffers)) + lengths, tree, *buffers]


def _split(held: memoryview) -> tuple[memoryview, list[memoryview]]:
    try:
        (count,) = _COUNT.unpack_from(held, len(_MAGIC))
        at = len(_MAGIC) + _COUNT.size
        lengths = [length for (length,) in _LENGTH.iter_unpack(held[at : at + _LENGTH.size * (count + 1)])]
        at += _LENGTH.size * (count + 1)
        parts = []
        for length in lengths:
            parts.append(held[at : at + length])
            at += length
    except struct.error as error:
        raise DamagedValueError(f"A stored value is cut off: {error}.") from None
    if len(lengths) != count + 1 or at != len(held):
        raise DamagedValueError(f"A stored value is {len(held):,} bytes long, it should be {at:,}.")
    return parts[0], parts[1:]
