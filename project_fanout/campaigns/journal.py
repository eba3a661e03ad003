"""A sender's notes on this machine: which of its claims it began, and which were accepted.

Claims wait for the disk, so they are made by the batch. The notes are made by the message, without
waiting: they outlive the process, and so tell the one message that was under way when it was killed
from the batch around it. They need not outlive the machine: after a power cut nothing is concluded from a
note that is missing.
"""

import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from project_fanout.campaigns.folders import private_folder
from project_fanout.engine.errors import LedgerError
from project_fanout.file_systems import file_system

_SUFFIX = ".journal"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str | None:
    """Return what is another text after each start of this machine, None where there is no such thing."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return None


@dataclass(slots=True)
class Notes:
    """What a journal says.

    Args:
        sender: who wrote it.
        whole: whether every line could be read; otherwise nothing is concluded from what is missing.
        boot: the `boot_id` of its time.
        claimed: keys that it claimed or was about to.
        begun: keys whose content may have reached the server.
        accepted: when the server accepted a key's message, in seconds since 1970 (UTC).
    """

    sender: str = ""
    boot: str | None = None
    claimed: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)
    accepted: dict[str, float] = field(default_factory=dict)
    whole: bool = True

    @classmethod
    def read(cls, fd: int) -> "Notes":
        """Return the notes in the file *fd*."""
        notes = cls()
        content = os.pread(fd, os.fstat(fd).st_size, 0)
        for line in filter(None, content.split(b"\n")):
            try:
                notes._take(json.loads(line))
            except ValueError:
                # Cut short by a full disk, or garbled by a power cut.
                notes.whole = False
        return notes

    def _take(self, note: dict[str, Any]) -> None:
        if "sender" in note:
            self.sender, self.boot = note["sender"], note["boot"]
        elif "claimed" in note:
            self.claimed.update(note["claimed"])
        elif "not_claimed" in note:
            self.claimed.difference_update(note["not_claimed"])
        elif "begun" in note:
            self.begun.add(note["begun"])
        elif "not_accepted" in note:
            self.begun.discard(note["not_accepted"])
        elif "accepted" in note:
            self.accepted[note["accepted"]] = note["at"]

    @property
    def not_begun(self) -> set[str]:
        """Keys that certainly were not sent: none unless this machine has run on since and all is readable."""
        if not self.whole or self.boot is None or self.boot != boot_id():
            return set()
        return self.claimed - self.begun - set(self.accepted)


class Journal:
    """The notes of one living sender. A lock on the file says that it lives.

    Args:
        folder: where the senders of one campaign keep their journals; made if need be.
    """

    def __init__(self, folder: Path) -> None:
        own = uuid.uuid4().hex
        private_folder(folder)
        self._neighbourhood = f"sender at {_place(folder)} "
        self.sender = f"{self._neighbourhood}{own}"
        self._path = folder / f"{own}{_SUFFIX}"
        # Locked before it has its name, so that nobody takes it for a dead one's.
        unnamed = self._path.with_suffix(".new")
        self._fd = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _lock(self._fd, unnamed)
        except LedgerError:
            os.close(self._fd)
            unnamed.unlink()
            raise
        self._write({"sender": self.sender, "boot": boot_id()})
        self._head = os.fstat(self._fd).st_size
        unnamed.rename(self._path)

    def is_neighbour(self, sender: str) -> bool:
        """Tell whether *sender* has or had its journal in this folder, since this machine was started."""
        return sender.startswith(self._neighbourhood)

    def claiming(self, keys: Iterable[str]) -> None:
        """Note that these are about to be claimed."""
        self._write({"claimed": list(keys)})

    def not_claimed(self, keys: Iterable[str]) -> None:
        """Note that these belong to somebody else."""
        self._write({"not_claimed": list(keys)})

    def begin(self, key: str) -> None:
        """Note that the content of this one is about to be sent."""
        self._write({"begun": key})

    def not_accepted(self, key: str) -> None:
        """Note that the server has said that it did not take this one."""
        self._write({"not_accepted": key})

    def accepted(self, key: str, at: float) -> None:
        """Note that the server has said that it took this one."""
        self._write({"accepted": key, "at": at})

    def clear(self) -> None:
        """Forget the notes: the claims say it all."""
        os.ftruncate(self._fd, self._head)

    def close(self) -> None:
        """Remove the journal if it is empty; otherwise leave it to be settled."""
        if os.fstat(self._fd).st_size == self._head:
            self._path.unlink(missing_ok=True)
        os.close(self._fd)

    def _write(self, note: dict[str, Any]) -> None:
        # On a line of its own also after a note that was cut short.
        left = memoryview(b"\n" + json.dumps(note).encode() + b"\n")
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError as error:
            raise LedgerError(
                f"The journal {self._path} cannot be written: {error.strerror}. Nothing is sent without it: make "
                "room, or give output_dir another place."
            ) from None


def _place(folder: Path) -> str:
    """Return what stands for *folder* on this machine since its start: locks of others cannot be seen."""
    file = folder / "place"
    writing = folder / f"place.{uuid.uuid4().hex}"
    writing.write_text(uuid.uuid4().hex)
    with suppress(FileExistsError):
        os.link(writing, file)
    writing.unlink()
    return hashlib.sha256(f"{file.read_text()} {boot_id()}".encode()).hexdigest()[:16]


def _lock(fd: int, path: Path, how: int = fcntl.LOCK_EX) -> None:
    try:
        fcntl.flock(fd, how)
    except BlockingIOError:
        raise
    except OSError as error:
        # Lustre without its option, old NFS: without locks a sender that lives looks like one that was killed.
        place = file_system(path)
        where = f" It is on {place}." if place is not None else ""
        raise LedgerError(
            f"{path} cannot be locked: {error.strerror}.{where} Nothing is sent without locks: give "
            "output_dir a place on a file system that has them, such as a disk of this machine."
        ) from None


def keys_in_work(folder: Path) -> set[str]:
    """Return what living senders have claimed and not yet settled."""
    with ExitStack() as opened:
        return set().union(*(Notes.read(fd).claimed for _, fd, dead in _journals(folder, opened) if not dead))


@contextmanager
def dead_journals(folder: Path) -> Iterator[list[Notes]]:
    """Give the notes of senders that were killed, to nobody else meanwhile; remove them if the block succeeds."""
    with ExitStack() as opened:
        dead = {path: fd for path, fd, dead in _journals(folder, opened) if dead}
        yield [Notes.read(fd) for fd in dead.values()]
        for path in dead:
            path.unlink(missing_ok=True)


def _journals(folder: Path, opened: ExitStack) -> Iterator[tuple[Path, int, bool]]:
    """Yield each journal, open until *opened* ends, and whether its sender is dead: then it is locked meanwhile."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        opened.callback(os.close, fd)
        try:
            _lock(fd, path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield path, fd, False
        else:
            yield path, fd, True


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process or thread after the other through the block."""
    private_folder(folder)
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(fd, folder)
        yield
    finally:
        os.close(fd)
