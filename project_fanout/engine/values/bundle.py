"""Several encoded values as one piece of bytes: in a worker's reply, and in a row of the ledger."""

import json
import struct
from collections.abc import Sequence

from project_fanout.engine.errors import DamagedValueError
from project_fanout.engine.values.codec import Encoded
from project_fanout.engine.values.store import StoredValue

_LENGTH = struct.Struct("<Q")


def bundle(values: Sequence[Encoded]) -> bytes:
    """Return *values* as bytes: JSON that lists them, and behind it their contents as they are."""
    contents = [
        value.encode("ascii") if isinstance(value, str) else value
        for value in values
        if not isinstance(value, StoredValue)
    ]
    heads = [
        [value.url, value.digest, value.size]
        if isinstance(value, StoredValue)
        else ["json" if isinstance(value, str) else "packed", len(value)]
        for value in values
    ]
    head = json.dumps(heads, separators=(",", ":")).encode("ascii")
    return b"".join((_LENGTH.pack(len(head)), head, *contents))


def unbundle(body: bytes | memoryview) -> tuple[Encoded, ...]:
    """Return the values that `bundle` was given.

    Raises:
        DamagedValueError: these bytes hold none.
    """
    body = memoryview(body)
    try:
        at = _LENGTH.size + _LENGTH.unpack_from(body)[0]
        values: list[Encoded] = []
        for kind, *details in json.loads(bytes(body[_LENGTH.size : at])):
            if len(details) == 2:
                values.append(StoredValue(kind, *details))
                continue
            content = body[at : at + details[0]]
            at += details[0]
            values.append(str(content, "ascii") if kind == "json" else bytes(content))
    except (ValueError, TypeError, struct.error) as error:
        raise DamagedValueError(f"Stored values are cut off or were changed: {error}.") from error
    if at != len(body):
        raise DamagedValueError(f"Stored values are {len(body):,} bytes long, they should be {at:,}.")
    return tuple(values)
