"""Fetched files that the tasks of a run share: one URL is fetched once on each machine."""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urldefrag

from project_fanout.engine.errors import RetryAfter
from project_fanout.forks.fetching import FileLocationError, RemoteFiles, fetch

_PREFIX = "project_fanout_fetched_"
_LOCK, _ANSWER, _PART = ".lock", ".answer", ".part"
#: What a run leaves that was killed is removed by another one after so many seconds.
_LEFT_FOR_S = 24 * 60 * 60


@dataclass(frozen=True)
class RemoteFilesOfRun(RemoteFiles):
    """What may be fetched, for the tasks of the run *run*."""

    run: str = ""


@contextmanager
def fetched(url: str, remote: RemoteFiles) -> Iterator[Path]:
    """Give the path of the file at an http or https *url*, which stays as it is and may be gone afterwards.

    Tasks of one run that ask for the same URL wait for the one that is fetching it, and share its answer, whether
    that is the file, a failure or a "not now". A later attempt after a failure asks again.

    Raises:
        FileLocationError, RetryAfter: as `fetch` does.
    """
    run = getattr(remote, "run", "")
    if not run or not remote.keep_bytes:
        with tempfile.TemporaryDirectory(prefix="project_fanout_") as folder:
            path = Path(folder) / "file"
            fetch(url, remote, path)
            yield path
        return
    path = _folder(run) / hashlib.sha256(urldefrag(url).url.encode()).hexdigest()
    asked_at = time.time()
    while True:
        with _locked(path) as lock:
            if not path.exists():
                _fetch(url, remote, path, asked_at)
            os.utime(path)
            # Others may have it at the same time. Between the two locks it may be dropped.
            fcntl.flock(lock, fcntl.LOCK_SH)
            if not path.exists():
                continue
            _drop(path.parent, remote.keep_bytes, besides=path)
            yield path
            return


def forget_fetched(run: str) -> None:
    """Remove what the tasks of *run* have shared, but for files that are in use by others of its forks."""
    folder = _folder(run)
    if folder.is_dir():
        _drop(folder, 0)
        for lock in folder.glob(f"*{_LOCK}"):
            _unlink_unused(lock.with_suffix(""))
        with suppress(OSError):
            folder.rmdir()


def _folder(run: str) -> Path:
    return Path(tempfile.gettempdir()) / f"{_PREFIX}{run}"


def _fetch(url: str, remote: RemoteFiles, path: Path, asked_at: float) -> None:
    """Fetch *url* to *path*, unless somebody has been told since *asked_at*, or is told to wait."""
    answer = path.with_suffix(_ANSWER)
    with suppress(FileNotFoundError):
        told = json.loads(answer.read_text(encoding="utf-8"))
        if (left_s := told["not_before"] - time.time()) > 0:
            raise RetryAfter(left_s, told["text"])
        if told["at"] >= asked_at and not told["not_before"]:
            raise FileLocationError(told["text"])
    part = path.with_suffix(f".{secrets.token_hex(4)}{_PART}")
    try:
        fetch(url, remote, part)
        part.replace(path)
    except (FileLocationError, RetryAfter) as error:
        now = time.time()
        not_before = now + error.seconds if isinstance(error, RetryAfter) else 0
        said = {"at": now, "text": str(error), "not_before": not_before}
        answer.write_text(json.dumps(said), encoding="utf-8")
        raise
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """Hold the lock of *path*; a process that dies loses it."""
    name = path.with_suffix(_LOCK)
    with ExitStack() as held:
        while True:
            _make(path.parent)
            with suppress(FileNotFoundError):
                lock = held.enter_context(name.open("ab"))
                fcntl.flock(lock, fcntl.LOCK_EX)
                # One that was removed in the meantime locks nobody out.
                if os.path.samestat(os.fstat(lock.fileno()), name.stat()):
                    break
            held.close()
        yield lock


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    for left in folder.parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if left.stat().st_mtime < time.time() - _LEFT_FOR_S:
                shutil.rmtree(left, ignore_errors=True)


def _drop(folder: Path, keep_bytes: int, besides: Path | None = None) -> None:
    """Remove files that nobody uses, the longest unused first, until those left are *keep_bytes* at most."""
    files = []
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            if not path.suffix:
                files.append((path.stat().st_mtime, path.stat().st_size, path))
    size = sum(each for _, each, _ in files)
    for _, each, path in sorted(files):
        if size <= keep_bytes:
            return
        if path != besides and _unlink_unused(path):
            size -= each


def _unlink_unused(path: Path) -> bool:
    """Remove *path* and what belongs to it unless it is in use; tell whether it is gone."""
    with suppress(OSError), path.with_suffix(_LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for each in (path, path.with_suffix(_ANSWER), path.with_suffix(_LOCK)):
            each.unlink(missing_ok=True)
        return True
    return False
