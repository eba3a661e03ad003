"""Mapping keys and names of ops: from any text to a name that Dagster, file systems and clusters accept."""

import hashlib
import keyword
import re

from anyascii import anyascii

#: Kubernetes labels and ECS names end at 63 characters.
LONGEST = 63
_HASH = 12
_READABLE = LONGEST - _HASH - 1
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
    """Return a mapping key for *text*: at most 63 of a-z, 0-9 and _, readable, and a different one for each.

    Text that is already such a name stays as it is; of anything else a readable form is followed by
    48 bits of its SHA-256. Capitals count as different because the file systems of macOS and
    Windows, where step outputs are kept under this name, do not tell them apart.
    """
    readable = re.sub(r"[^a-z0-9]+", "_", anyascii(text).lower()).strip("_")
    if readable == text and len(text) <= _READABLE and not _is_taken(text):
        return text
    return f"{readable[:_READABLE].strip('_') or 'key'}_{_digest(text)}"


def op_name(text: str) -> str:
    """Return a name of an op for *text*: itself if Dagster accepts it, else a mapping key for it."""
    if re.fullmatch(r"[A-Za-z0-9_]+", text) and text not in _RESERVED:
        return text
    return mapping_key(text)


def batch_mapping_key(texts: list[str]) -> str:
    """Return a mapping key for several records that share a step: the first one's, and how many more."""
    if len(texts) == 1:
        return mapping_key(texts[0])
    suffix = f"_and_{len(texts) - 1}_more_{_digest(chr(0).join(texts))}"
    readable = re.sub(r"[^a-z0-9]+", "_", anyascii(texts[0]).lower()).strip("_")
    return f"{readable[: LONGEST - len(suffix)].strip('_') or 'key'}{suffix}"


def _is_taken(text: str) -> bool:
    looks_derived = re.search(rf"_[0-9a-f]{{{_HASH}}}$", text)
    return keyword.iskeyword(text) or text in _RESERVED or bool(looks_derived)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH]
