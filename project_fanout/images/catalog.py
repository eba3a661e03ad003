"""Find the picture files in a folder and say which of them can be rendered."""

import math
import os
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePath

from project_fanout.engine.container import available_cpus
from project_fanout.images.pictures import DEFAULT_MAX_PIXELS, PictureError, PictureFile, inspect

#: Names of pictures that are read.
READ_SUFFIXES = frozenset(
    {".apng", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg"}
    | {".jpf", ".jpg", ".jpx", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
#: Names of photographs that are not: left out in silence they would be missed. Camera files are
#: TIFF inside, and what Pillow finds there is a thumbnail.
UNREAD_SUFFIXES = frozenset(
    {".arw", ".cr2", ".cr3", ".dng", ".heic", ".heif", ".hif", ".jxl", ".nef", ".nrw", ".orf", ".pef"}
    | {".psb", ".psd", ".raf", ".rw2", ".srw"}
)


@dataclass(frozen=True, slots=True)
class Catalog:
    """What was found in a folder.

    Args:
        source_dir: the folder, absolute.
        pictures: every picture file in order of its key, those with a problem included.
        ignored: other files, by their path within the folder.
    """

    source_dir: Path
    pictures: tuple[PictureFile, ...]
    ignored: tuple[str, ...]

    @property
    def readable(self) -> tuple[PictureFile, ...]:
        return tuple(picture for picture in self.pictures if picture.problem is None)

    @property
    def unreadable(self) -> tuple[PictureFile, ...]:
        return tuple(picture for picture in self.pictures if picture.problem is not None)


def shipped_photos() -> Path:
    """Return the folder with the five photographs that come with this package."""
    return Path(str(files("project_fanout.images") / "photos"))


def find_pictures(
    source_dir: str | Path | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    *,
    leave_out: Collection[str] = (),
    as_of: float | None = None,
) -> Catalog:
    """Read every picture in *source_dir* and the folders in it; by default the shipped photographs.

    A picture is a file whose name ends as pictures' names do; hidden files and folders are left
    out. Each is decoded to its end, since a truncated file shows nowhere else: better once here
    than as thirty failed renditions.

    Args:
        source_dir: the folder.
        max_pixels: of a picture; one with more is not read.
        leave_out: keys of files that are ignored.
        as_of: files that have changed later, in seconds since 1970, are ignored too.

    Raises:
        PictureError: *source_dir* is not a folder that can be listed.
    """
    source = shipped_photos() if source_dir is None else Path(source_dir).expanduser().absolute()
    _check_folder(source, source_dir)
    candidates: list[tuple[str, Path]] = []
    refused: list[PictureFile] = []
    ignored: list[str] = []
    for path, problem in walk(source, set()):
        key = key_of(path.relative_to(source))
        if key in leave_out or (as_of is not None and _changed_at(path) > as_of):
            ignored.append(key)
            continue
        reason = problem or _problem_of_name(path, key)
        if reason is not None:
            refused.append(PictureFile(file=key, path=str(source / key), problem=reason))
        elif path.suffix.lower() in READ_SUFFIXES:
            candidates.append((key, path))
        else:
            ignored.append(key)
    # Decoding releases the GIL, so threads are enough.
    with ThreadPoolExecutor(available_cpus()) as threads:
        inspected = threads.map(lambda found: inspect(found[0], found[1], max_pixels), candidates)
        pictures = sorted([*refused, *inspected], key=lambda picture: picture.file)
    return Catalog(source, tuple(pictures), tuple(sorted(ignored)))


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return -math.inf  # what is wrong with it is said where it is opened


def walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, str | None]]:
    """Yield each file below *folder* with what is wrong with it, if that shows without opening it.

    Links to folders are followed, each folder once: a link may point to a folder that it is in.
    """
    try:
        found = folder.stat()
        if (found.st_dev, found.st_ino) in seen:
            return
        seen.add((found.st_dev, found.st_ino))
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield folder, f"this folder cannot be listed: {error.strerror}"
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if os.path.isdir(path):
            if path.suffix.lower() in READ_SUFFIXES | UNREAD_SUFFIXES:
                yield path, "not a file but a folder, which is not searched: rename it if it holds pictures"
            else:
                yield from walk(path, seen)
        else:
            yield path, None


def key_of(path: PurePath) -> str:
    """Return the path within the folder as text that can be stored: bytes that are not UTF-8 are written out.

    Such a text begins with ./ and has its own backslashes twice: no other file can have the same.
    """
    name = os.fsencode(path.as_posix())
    try:
        return name.decode()
    except UnicodeDecodeError:
        return "./" + name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def _problem_of_name(path: Path, key: str) -> str | None:
    if not path.as_posix().endswith(key):
        return "its name is not UTF-8 text; rename it"
    if (suffix := path.suffix.lower()) in UNREAD_SUFFIXES:
        return f"{suffix} files are not read; save it as JPEG, PNG, TIFF, WebP or AVIF"
    return None


def _check_folder(source: Path, given: object) -> None:
    try:
        os.scandir(source).close()
    except OSError as error:
        raise PictureError(
            f"source_dir is {str(given)!r}: {source} cannot be listed: {error.strerror}. Give the folder that holds "
            "the photographs, or leave source_dir out for the five that are shipped."
        ) from None
