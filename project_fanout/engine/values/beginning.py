"""How a value begins, as a line for people to read."""

from project_fanout.common import one_line
from project_fanout.engine.errors import DamagedValueError
from project_fanout.engine.values.codec import Encoded, decode, encoded_size
from project_fanout.engine.values.store import StoredValue

# What is larger is not decoded for a line of text.
_LARGEST = 4096


def beginning(encoded: Encoded, longest: int) -> str:
    """Return one line of at most *longest* characters: JSON as it is, other values as Python shows them."""
    if isinstance(encoded, str):
        return one_line(encoded[: 4 * longest], longest)
    size = encoded.size if isinstance(encoded, StoredValue) else encoded_size(encoded)
    if isinstance(encoded, StoredValue) or size > _LARGEST:
        return one_line(f"(a value of {size:,} bytes)", longest)
    try:
        return one_line(repr(decode(encoded)), longest)
    except (DamagedValueError, ImportError):
        return one_line(f"(a value of {size:,} bytes, which cannot be read here)", longest)
