"""JSON text of values, refused with its place where it would come back as something else."""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

# Made once: `json.dumps` with options makes an encoder for each call, which is half of a small value's time.
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode

_TEXT = {str}
_LEAVES = {str, int, float, bool, type(None)}
# Python's own encoder ends at about this depth, and a value that contains itself has no end.
_DEEPEST = 1000


def to_json(value: object, what: str) -> str:
    """Return *value* as JSON text.

    Args:
        value: text, numbers, booleans, None, lists, tuples, and dicts whose keys are text.
        what: what the message calls the value, e.g. "result".

    Raises:
        TypeError: *value* would not come back from JSON as it is; the message says what and where, e.g.
            "result['sizes'][3] is a set".
    """
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{_problem(value, what) or f'{what}: {error}'}.") from None
    # JSON makes text of other keys without a word, and of {1: "a", "1": "b"} one entry.
    if not _has_text_keys(value) and (problem := _problem(value, what)):
        raise TypeError(f"{problem}.")
    return text


def json_or_none(value: object) -> str | None:
    """Return *value* as JSON text if JSON gives it back as it is, each part of the very same type; None if not."""
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError):  # another type, not finite, containing itself or too deep
        return None
    return text if _is_plain(value) else None


def _is_plain(value: object) -> bool:
    """Tell whether all of *value* is of JSON's own types; looks at leaves only by type, at the speed of C."""
    unseen: list[Any] = [value]
    while unseen:
        found = unseen.pop()
        kind = type(found)
        if kind is dict:
            if not _TEXT.issuperset(map(type, found)):
                return False
            found = found.values()
        elif kind is not list:
            if kind not in _LEAVES:
                return False
            continue
        if not _LEAVES.issuperset(map(type, found)):
            unseen.extend(found)
    return True


def _has_text_keys(value: object) -> bool:
    """Tell whether all keys in *value* are plain text; looks at leaves only by type, at the speed of C."""
    unseen: list[Any] = [value]
    while unseen:
        found = unseen.pop()
        if isinstance(found, dict):
            if not _TEXT.issuperset(map(type, found)):
                return False
            found = found.values()
        elif not isinstance(found, (list, tuple)):
            continue
        if not _LEAVES.issuperset(map(type, found)):
            unseen.extend(found)
    return True


def _problem(value: object, what: str) -> str | None:
    """Say which part of *value*, the first in its order, JSON cannot give back; None if there is none."""
    levels: list[Iterator[tuple[str, object]]] = [iter([(what, value)])]
    while levels:
        path, found = next(levels[-1], (None, None))
        if path is None:
            levels.pop()
        elif len(levels) > _DEEPEST:
            return f"{what} is nested deeper than {_DEEPEST:,} levels or contains itself, which is not JSON"
        elif isinstance(found, dict):
            if problem := _key_problem(found, path):
                return problem
            levels.append(_items(path, found.items()))
        elif isinstance(found, (list, tuple)):
            levels.append(_items(path, enumerate(found)))
        elif problem := _leaf_problem(found):
            return f"{path} is {problem}"
    return None


def _items(path: str, items: Iterable[tuple[object, object]]) -> Iterator[tuple[str, object]]:
    return ((f"{path}[{key!r}]", item) for key, item in items)


def _key_problem(found: dict[Any, Any], path: str) -> str | None:
    for key in found:
        if not isinstance(key, str):
            return (
                f"{path} has the key {key!r}, {type_of(key)}, which is not JSON: use text, or a list of "
                "[key, value] pairs"
            )
    if len({str.__str__(key) for key in found}) < len(found):
        return f"{path} has two keys that are the same text, which is not JSON: use plain text"
    return None


def _leaf_problem(found: object) -> str | None:
    if isinstance(found, float) and not math.isfinite(found):
        return f"{found!r}, which is not JSON; use None or text"
    if found is None or isinstance(found, (str, int, float, bool)):
        return None
    if type(found).__name__ in ("Unit", "Fanout") and type(found).__module__.startswith("project_fanout."):
        return (
            f"{type_of(found)}, which is not JSON; to give units to the next stage, "
            "return Fanout([Unit(key, payload), ...]) with nothing around it"
        )
    return f"{type_of(found)}, which is not JSON; use text, numbers, booleans, None, lists and dicts"


def type_of(found: object) -> str:
    """Return the type with its module, where it has one of its own: of numpy's bool "bool" would say nothing."""
    kind = type(found)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "project_fanout.engine.model"):
        name = f"{kind.__module__}.{name}"
    return f"{'an' if name[0] in 'aeiouAEIO' else 'a'} {name}"
