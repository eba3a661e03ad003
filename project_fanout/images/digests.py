"""Digests of files: of photographs, so that a changed one is known, and of renditions, so that damage is."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def is_intact(made: Mapping[str, Any]) -> bool:
    """Tell whether a file is as it was written.

    Args:
        made: its `path` and `sha256`.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    written: str = made["sha256"]
    return sha256_of(made["path"]) == written
