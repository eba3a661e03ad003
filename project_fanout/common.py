"""Small things that several rooms need in the same way. Imports nothing but the standard library."""

import math
import os
import random
import re
import secrets
from collections.abc import Mapping
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")

#: Marks a field that was added after objects without it had been pickled; see `quickly_pickled`.
LATER: Mapping[str, Any] = {"later": True}

_HALVES = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def quickly_pickled(cls: type[_T]) -> type[_T]:
    """Class decorator: pickle a frozen dataclass with slots as `dataclass` does, without its look at all fields.

    That takes 5 us for each instance, and a fan-out pickles several for each unit. A field that an earlier release
    did not have says `metadata=LATER`: what that one has pickled gets its default.
    """
    in_order = sorted(fields(cls), key=lambda field: LATER.items() <= field.metadata.items())  # type: ignore[arg-type]  # it is a dataclass
    names = tuple(field.name for field in in_order)
    values = attrgetter(*names)
    setters = [getattr(cls, name).__set__ for name in names]

    def get_state(self: _T) -> list[Any]:
        return list(values(self))

    def set_state(self: _T, state: list[Any]) -> None:
        for set_value, value in zip(setters, state, strict=False):
            set_value(self, value)
        for field in in_order[len(state) :]:
            object.__setattr__(self, field.name, field.default)

    cls.__getstate__ = get_state  # type: ignore[attr-defined]  # called by pickle alone
    cls.__setstate__ = set_state  # type: ignore[attr-defined]  # likewise
    return cls


def whole_characters(value: Any) -> Any:
    """Return *value* with its texts, also in lists and dictionaries, as they are meant.

    YAML reads a character that JSON escapes as two, as `json.dumps` writes an emoji, as two halves that nothing can
    encode.
    """
    if isinstance(value, str):
        return _HALVES.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), value)
    if isinstance(value, Mapping):
        return {whole_characters(key): whole_characters(each) for key, each in value.items()}
    return [whole_characters(each) for each in value] if isinstance(value, list) else value


def one_line(text: str, longest: int) -> str:
    """Return *text* as one line of at most *longest* characters; where some are left out it ends with "…"."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def duration_text(seconds: float) -> str:
    """Return *seconds* as people say it, in the largest two units."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def backoff_s(attempt: int, first_s: float, longest_s: float, jitter: float = 0.5) -> float:
    """Return how many seconds to wait after the *attempt*-th failure, counted from 1.

    It doubles from *first_s* up to *longest_s*, made shorter or longer by chance by up to the share *jitter*, so
    that those that failed together do not come back together.
    """
    return min(first_s * 2.0 ** min(attempt - 1, 100), longest_s) * random.uniform(1 - jitter, 1 + jitter)


def replace_file(path: Path, *parts: bytes | memoryview, mode: int = 0o666, durable: bool = True) -> None:
    """Write *parts* to *path* so that a reader sees the old file or the new one, never a part.

    Args:
        path: the file; its folder is made if need be.
        parts: its content, one after the other.
        mode: permissions of the new file, before the umask.
        durable: whether the file outlives a power cut once this has returned. It costs two waits for the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(partial, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.writelines(parts)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
        if durable:
            sync_path(path.parent)
    except BaseException:
        # A part would keep a full disk full.
        partial.unlink(missing_ok=True)
        raise


def sync_path(path: Path) -> None:
    """Return when a file, or what stands in a folder, outlives a power cut."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError:
        # Some file systems have no such thing for folders; a file that is not on the disk is another matter.
        if not path.is_dir():
            raise
    finally:
        os.close(opened)
