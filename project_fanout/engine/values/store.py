"""The value store: large values as files, each stored once under its digest."""

import hashlib
import mmap
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from project_fanout.common import replace_file, sync_path
from project_fanout.engine.errors import DamagedValueError

#: Bytes above which a value is stored as a file, unless told otherwise.
SPILL_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A value in a file of its own, as it travels: by reference.

    Args:
        url: the file's path or URL.
        digest: SHA-256 of its content.
        size: length of its content in bytes.
    """

    url: str
    digest: str
    size: int

    def load(self) -> memoryview:
        """Return the file's content, checked; of a file on this machine as it lies there, without a copy.

        Raises:
            DamagedValueError: it is gone, or not what was stored.
        """
        try:
            content = _content(_place(self.url))
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            raise DamagedValueError(
                f"The value in {self.url} cannot be read: {error}. If it has been removed, run its unit again "
                "(reuse: never)."
            ) from error
        if hashlib.sha256(content).hexdigest() != self.digest:
            raise DamagedValueError(
                f"The value in {self.url} is not what was stored there ({len(content):,} of {self.size:,} bytes, or "
                "other ones): remove the file, and its unit is run again."
            )
        return content

    @property
    def is_there(self) -> bool:
        """Whether the file is there, in its full length."""
        with suppress(OSError):
            return bool(_place(self.url).stat().st_size == self.size)
        return False


@dataclass(frozen=True, slots=True)
class ValueStore:
    """A folder for the large values of one lineage of an asset, or of one run without a ledger.

    Args:
        url: path, or URL of fsspec such as s3://bucket/folder; made with the first value.
        spill_bytes: length above which a value is stored here.
    """

    url: str
    spill_bytes: int = SPILL_BYTES

    def keep(self, parts: Sequence[Any]) -> StoredValue:
        """Store the bytes of *parts*, unless they are there already, and return where; `sync` has it on disk.

        Raises:
            OSError: they cannot be stored.
        """
        size, digest = 0, hashlib.sha256()
        for part in parts:
            size += len(part)
            digest.update(part)
        name = digest.hexdigest()
        stored = StoredValue(f"{self.url.rstrip('/')}/{name}", name, size)
        if not stored.is_there:
            place = _place(stored.url)
            if isinstance(place, Path):
                replace_file(place, *parts, durable=False)
            else:
                _write_far_away(place, b"".join(parts))
        return stored

    def remove(self) -> None:
        """Remove all that is in the folder, and the folder.

        Raises:
            OSError: that is not allowed.
        """
        folder = _place(self.url)
        if not folder.exists():
            return
        for file in folder.iterdir():
            file.unlink(missing_ok=True)
        with suppress(OSError, NotImplementedError):  # an object store has no folders
            folder.rmdir()


def sync(values: Iterable[StoredValue]) -> None:
    """Return when the files of *values* on this machine outlive a power cut.

    In the order in which they were written, and a moment after it, this waits for the disk a fifth of the time
    that each worker would have to wait for its own.

    Raises:
        OSError: the disk does not take one.
    """
    folders = set()
    for value in values:
        if isinstance(place := _place(value.url), Path):
            # One that has been pruned meanwhile is no success for whoever looks for it.
            with suppress(FileNotFoundError):
                sync_path(place)
                folders.add(place.parent)
    for folder in folders:
        with suppress(FileNotFoundError):
            sync_path(folder)


def _write_far_away(place: Any, content: bytes) -> None:
    try:
        place.write_bytes(content)
    except OSError:
        raise
    except Exception as error:  # each object store has its own; all may pass, so that another attempt helps
        raise OSError(f"{place} cannot be written: {type(error).__name__}: {error}") from error


def _content(place: Any) -> memoryview:
    if not isinstance(place, Path):
        return memoryview(bytes(place.read_bytes()))
    with place.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _place(url: str) -> Any:
    """Return the `Path` of a file on this machine, and for any other URL what has the same methods."""
    if "://" not in url:
        return Path(url)
    if url.startswith("file://"):
        return Path(url.removeprefix("file://"))
    from upath import UPath  # noqa: PLC0415  # 0.1 s, which no worker with local files has to wait

    return UPath(url)
