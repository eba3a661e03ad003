"""Folders of photographs: which of the files in them are meant, and by what name each goes."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

#: Names of pictures that are read.
READ_SUFFIXES = frozenset(
    {".apng", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe"}
    | {".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".tif"}
    | {".tiff", ".webp"}
)
#: Names of photographs that are not: left out in silence they would be missed. Camera files are
#: TIFF inside, and what Pillow finds there is a thumbnail.
UNREAD_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".heic", ".heics"}
    | {".heif", ".heifs", ".hif", ".iiq", ".j2h", ".jph", ".jxl", ".jxr", ".kdc", ".mef", ".mos", ".mrw"}
    | {".nef", ".nrw", ".orf", ".pef", ".psb", ".psd", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf"}
    | {".srw", ".wdp", ".x3f"}
)
#: Folders that systems put among people's files, in lower case: thumbnails of a NAS, waste bins, snapshots, what an
#: unpacked archive or a repaired file system leaves behind.
SYSTEM_FOLDERS = frozenset(
    {"@eadir", "@recently-snapshot", "@recycle", "@sharebin", "@tmp", "#recycle", "#snapshot", "$recycle.bin"}
    | {"__macosx", "found.000", "lost+found", "lost.dir", "recycler", "system volume information"}
)
HIDDEN, OF_THE_SYSTEM = "hidden", "system folder"


@dataclass(frozen=True, slots=True)
class Found:
    """A file in a folder, or a folder that is not searched.

    Args:
        path: where it is.
        problem: what is wrong with it, if that shows without opening it.
        left_out: why it is none of the files that are meant, None if it is one.
    """

    path: Path
    problem: str | None = None
    left_out: str | None = None


def walk(folder: Path, seen: set[tuple[int, int]] | None = None) -> Iterator[Found]:
    """Yield what is in *folder* and the folders in it, in order of the names.

    Links to folders are followed, each folder once: a link may point to a folder that it is in.
    """
    seen = set() if seen is None else seen
    try:
        found = folder.stat()
        if (found.st_dev, found.st_ino) in seen:
            return
        seen.add((found.st_dev, found.st_ino))
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield Found(folder, f"this folder cannot be listed: {error.strerror}")
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            yield Found(path, left_out=HIDDEN)
        elif not os.path.isdir(path):
            yield Found(path)
        elif entry.name.lower() in SYSTEM_FOLDERS:
            yield Found(path, left_out=OF_THE_SYSTEM)
        elif path.suffix.lower() in READ_SUFFIXES | UNREAD_SUFFIXES:
            yield Found(
                path, "not a file but a folder, which is not searched: rename it if it holds pictures"
            )
        else:
            yield from walk(path, seen)


def key_of(path: PurePath) -> str:
    """Return the path within the folder as text that can be stored: bytes that are not UTF-8 are written out.

    Such a text begins with ./ and has its own backslashes twice: no other file can have the same.
    """
    name = os.fsencode(path.as_posix())
    try:
        return name.decode()
    except UnicodeDecodeError:
        return "./" + name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def matches(pattern: str, key: str) -> bool:
    """Tell whether *pattern* is for a file, whatever its capitals, or for a folder that it is in.

    Args:
        pattern: a name, or with `/` a path within the folder that is catalogued. In it `*`, `?` and `[...]` stand for
            characters of one name, `**` for any number of folders.
        key: path of the file within the folder.
    """
    wanted = [part for part in pattern.lower().split("/") if part not in ("", ".")]
    if not wanted:
        return False
    if "/" not in pattern.rstrip("/"):
        wanted.insert(0, "**")
    return _matches(wanted, key.lower().split("/"))


def _matches(wanted: Sequence[str], names: Sequence[str]) -> bool:
    if not wanted:
        return True  # the file itself, or what is in a folder
    if wanted[0] == "**":
        rest = wanted[1:]
        # A pattern that ends in ** is for what is in the folder, and there is something.
        return any(_matches(rest, names[skipped:]) for skipped in range(len(names) + bool(rest)))
    return bool(names) and fnmatchcase(names[0], wanted[0]) and _matches(wanted[1:], names[1:])
