"""Parameters of stages that resources fill: values that reach each worker once, and what each worker makes once."""

import mmap
import os
import pickle
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from project_fanout.engine.per_worker import SetUp
from project_fanout.engine.pools.memory_file import memory_file

# Up to this size a value travels with every call, which costs less than a file.
_INLINE_BYTES = 1 << 14
_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class SharedValue:
    """A value that is pickled once: small ones travel with the call, others are a file that every worker maps.

    What offers its memory to pickle (numpy, Arrow, pandas) is not copied: all workers of a machine have the same
    pages of it, and cannot change them.

    Args:
        key: tells it from all others.
        pickled: the value, without its buffers; empty where that is in the file too.
        path: the file, "" for none.
        parts: where in the file it begins and how long it is: the pickle first, then its buffers.
    """

    key: str
    pickled: bytes = field(compare=False)
    path: str = field(default="", compare=False)
    parts: tuple[tuple[int, int], ...] = field(default=(), compare=False)

    def load(self) -> Any:
        """Return the value, in a worker of this machine."""
        if not self.path:
            return pickle.loads(self.pickled)
        with open(self.path, "rb") as file:  # a Path would resolve the link of /proc
            return self.of_bytes(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))

    def of_bytes(self, content: memoryview) -> Any:
        """Return the value, whose file holds *content*."""
        pickled, *buffers = (content[start : start + size] for start, size in self.parts)
        return pickle.loads(pickled, buffers=buffers)

    def read(self) -> bytes:
        """Return what its file holds."""
        with open(self.path, "rb") as file:  # see above
            return file.read()


@dataclass(frozen=True, slots=True)
class Supplied:
    """What resources give to a stage, by the names of its parameters.

    Args:
        shared: values of `for_units()`.
        set_ups: values that each worker makes.
    """

    shared: tuple[tuple[str, SharedValue], ...] = ()
    set_ups: tuple[tuple[str, SetUp], ...] = ()


class SharedFile:
    """The file of a `SharedValue`, in memory where the system has such files; gone when closed or with this process."""

    def __init__(self, value: object) -> None:
        key = uuid.uuid4().hex
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        self._file: Any = None
        if not buffers and len(pickled) <= _INLINE_BYTES:
            self.value = SharedValue(key, pickled)
            return
        self._file = memory_file(f"project_fanout {key}")
        path = f"/proc/{os.getpid()}/fd/{self._file.fileno()}"
        if not os.path.exists(path):  # without /proc workers need a name
            self._file.close()
            self._file = tempfile.NamedTemporaryFile(prefix="project_fanout_")  # noqa: SIM115  # until close
            path = self._file.name
        parts = self._write([memoryview(pickled), *(buffer.raw() for buffer in buffers)])
        self.value = SharedValue(key, b"", path, parts)

    def close(self) -> None:
        """Remove it; workers that have mapped it keep it."""
        if self._file is not None:
            self._file.close()

    def _write(self, contents: Sequence[memoryview]) -> tuple[tuple[int, int], ...]:
        parts, end = [], 0
        for content in contents:
            start = -(-end // _ALIGNMENT) * _ALIGNMENT
            self._file.write(b"\0" * (start - end))
            self._file.write(content)
            end = start + content.nbytes
            parts.append((start, content.nbytes))
        self._file.flush()
        return tuple(parts)
