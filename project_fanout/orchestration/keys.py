"""Mapping keys and names of ops: from any text to a name that Dagster, file systems and clusters accept."""

import hashlib
import keyword
import re
from collections.abc import Iterator, Sequence

from anyascii import anyascii

#: Kubernetes labels and ECS names end at 63 characters.
LONGEST = 63
_SHORT_HASH, _HASH, _LONG_HASH = 6, 12, 40
_LONGEST_READABLE = LONGEST - _HASH - 1
#: Names that Dagster refuses beside Python's keywords.
_RESERVED = frozenset(
    {
        "context",
        "conf",
        "config",
        "meta",
        "arg_dict",
        "dict",
        "input_arg_dict",
        "output_arg_dict",
        "int",
        "str",
    }
    | {"float", "bool", "input", "output", "type"}
)


def mapping_key(text: str) -> str:
    """Return a name for *text*: at most 63 of a-z, 0-9 and _, readable, and a different one for each text.

    Text that is already such a name stays as it is; of anything else a readable form is followed by
    48 bits of its SHA-256. Capitals count as different because some file systems do not tell them apart.
    """
    readable = _readable(text)
    if readable == text and len(text) <= _LONGEST_READABLE and not _is_taken(text):
        return text
    return f"{readable[:_LONGEST_READABLE].strip('_') or 'key'}_{_digest(text)[:_HASH]}"


def op_name(text: str) -> str:
    """Return a name of an op for *text*: itself if Dagster accepts it, else a mapping key for it."""
    if re.fullmatch(r"[A-Za-z0-9_]+", text) and text not in _RESERVED:
        return text
    return mapping_key(text)


class MappingKeys:
    """The mapping keys of one fan-out: each as near to its record's key as it can be, and no two alike.

    Keys that differ in capitals alone count as alike: under them step outputs are kept, and the file systems of macOS
    and Windows do not tell those apart.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, texts: Sequence[str]) -> str:
        """Return the mapping key for records that share a step: the first one's, and how many more.

        A single key that Dagster accepts is taken as it is. Of any other a readable form is followed by 24 bits of its
        SHA-256, or by 48 where another has the same.
        """
        key = next(each for each in _candidates(texts) if each.lower() not in self._taken)
        self._taken.add(key.lower())
        return key


def _candidates(texts: Sequence[str]) -> Iterator[str]:
    first, more = texts[0], len(texts) - 1
    if not more and re.fullmatch(rf"[A-Za-z0-9_]{{1,{LONGEST}}}", first) and not _is_reserved(first):
        yield first
    together = _digest(chr(0).join(texts))
    for digits in (_SHORT_HASH, _HASH, _LONG_HASH):
        suffix = f"{f'_and_{more}_more' if more else ''}_{together[:digits]}"
        yield f"{_readable(first)[: LONGEST - len(suffix)].strip('_') or 'key'}{suffix}"


def _is_taken(text: str) -> bool:
    return _is_reserved(text) or bool(re.search(rf"_[0-9a-f]{{{_HASH}}}$", text))


def _is_reserved(text: str) -> bool:
    return keyword.iskeyword(text) or text in _RESERVED


def _readable(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", anyascii(text).lower()).strip("_")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_LONG_HASH]
