"""Find the picture files in a folder and say which of them can be rendered."""

import math
import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath

from project_fanout.engine.pools.calls import UnitPool
from project_fanout.engine.pools.inline import InlinePool
from project_fanout.images.folders import (
    HIDDEN,
    OF_THE_SYSTEM,
    READ_SUFFIXES,
    UNREAD_SUFFIXES,
    Found,
    key_of,
    matches,
    walk,
)
from project_fanout.images.inspection import DEFAULT_SECONDS, PictureFile, inspect_all
from project_fanout.images.pictures import DEFAULT_MAX_PIXELS, PictureError

NO_PICTURE, EXCLUDED, WAITING = "not a picture's name", "excluded", "still being copied, or changed later"
BESIDE = "beside a picture of the same name that is read"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is no picture of the catalogue, or a folder that is not searched.

    Args:
        file: its path within the folder.
        why: one of few reasons.
    """

    file: str
    why: str

    @property
    def suffix(self) -> str:
        """How its name ends, in lower case; of a name without such an end, and of a folder, the whole name."""
        path = PurePosixPath(self.file)
        return (path.suffix if self.why != OF_THE_SYSTEM else "").lower() or path.name


@dataclass(frozen=True, slots=True)
class Catalog:
    """What was found in a folder.

    Args:
        source_dir: the folder, absolute.
        pictures: every picture file in order of its key, those with a problem included.
        left_out: everything else, in order of the paths.
        unmatched: the patterns of `exclude` that no file's path matches.
    """

    source_dir: Path
    pictures: tuple[PictureFile, ...]
    left_out: tuple[LeftOut, ...]
    unmatched: tuple[str, ...] = ()

    @property
    def readable(self) -> tuple[PictureFile, ...]:
        return tuple(picture for picture in self.pictures if picture.problem is None)

    @property
    def unreadable(self) -> tuple[PictureFile, ...]:
        return tuple(picture for picture in self.pictures if picture.problem is not None)

    @property
    def ignored(self) -> tuple[str, ...]:
        """Of what is left out, the files that no system has put there."""
        return tuple(each.file for each in self.left_out if each.why not in (HIDDEN, OF_THE_SYSTEM))

    @property
    def left_out_by_suffix(self) -> list[tuple[str, str, int]]:
        """Why, how the names end, and how many there are, the most first."""
        counted = Counter((each.why, each.suffix) for each in self.left_out)
        return [(why, suffix, count) for (why, suffix), count in counted.most_common()]


def shipped_photos() -> Path:
    """Return the folder with the five photographs that come with this package."""
    return Path(str(files("project_fanout.images") / "photos"))


def find_pictures(
    source_dir: str | Path | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    *,
    exclude: Sequence[str] = (),
    leave_out: Collection[str] = (),
    as_of: float | None = None,
    pool: UnitPool | None = None,
    seconds: float = DEFAULT_SECONDS,
) -> Catalog:
    """Read every picture in *source_dir* and the folders in it; by default the shipped photographs.

    A picture is a file whose name ends as pictures' names do; hidden files and folders are left
    out, and the folders that systems put among them. Each is decoded to its end, since a truncated
    file shows nowhere else: better once here than as thirty failed renditions.

    Args:
        source_dir: the folder.
        max_pixels: of a picture; one with more is not read.
        exclude: patterns of paths that are left out; see `folders.matches`.
        leave_out: keys of files that are ignored.
        as_of: files that have changed later, in seconds since 1970, are ignored too.
        pool: where the pictures are read, None for this thread, where nothing stops a decoder.
        seconds: most time for one picture.

    Raises:
        PictureError: *source_dir* is not a folder that can be listed.
    """
    source = shipped_photos() if source_dir is None else Path(source_dir).expanduser().absolute()
    _check_folder(source, source_dir)
    candidates: list[tuple[str, Path]] = []
    refused: list[PictureFile] = []
    left_out: list[LeftOut] = []
    matched: set[str] = set()
    everything = [(key_of(found.path.relative_to(source)), found) for found in walk(source)]
    kept = []
    for key, found in everything:
        patterns = [pattern for pattern in exclude if matches(pattern, key)]
        matched.update(patterns)
        why = found.left_out or (EXCLUDED if patterns else None)
        if why is None:
            kept.append((key, found))
        else:
            left_out.append(LeftOut(key, why))
    read = {_without_suffix(found) for _, found in kept if found.path.suffix.lower() in READ_SUFFIXES}
    for key, found in kept:
        reason = found.problem or _problem_of_name(found.path, key)
        suffix = found.path.suffix.lower()
        if key in leave_out or (as_of is not None and _changed_at(found.path) > as_of):
            left_out.append(LeftOut(key, WAITING))
        elif found.problem is None and suffix in UNREAD_SUFFIXES and _without_suffix(found) in read:
            left_out.append(LeftOut(key, BESIDE))
        elif reason is not None:
            refused.append(PictureFile(file=key, path=str(source / key), problem=reason))
        elif suffix in READ_SUFFIXES:
            candidates.append((key, found.path))
        else:
            left_out.append(LeftOut(key, NO_PICTURE))
    inspected = inspect_all(candidates, max_pixels, pool or InlinePool(), seconds)
    return Catalog(
        source,
        tuple(sorted([*refused, *inspected], key=lambda picture: picture.file)),
        tuple(sorted(left_out, key=lambda each: each.file)),
        tuple(pattern for pattern in exclude if pattern not in matched),
    )


def _without_suffix(found: Found) -> str:
    """Return the path without its suffix, in lower case: a camera writes IMG_1.CR2 and IMG_1.JPG of one photograph."""
    return str(found.path.with_suffix("")).lower()


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return -math.inf  # what is wrong with it is said where it is opened


def _problem_of_name(path: Path, key: str) -> str | None:
    if not path.as_posix().endswith(key):
        return "its name is not UTF-8 text; rename it"
    if (suffix := path.suffix.lower()) in UNREAD_SUFFIXES:
        return (
            f"{suffix} files are not read; save it as JPEG, PNG, TIFF, WebP or AVIF, or leave such files out: "
            f'exclude: ["*{suffix}"]'
        )
    return None


def _check_folder(source: Path, given: object) -> None:
    try:
        os.scandir(source).close()
    except OSError as error:
        raise PictureError(
            f"source_dir is {str(given)!r}: {source} cannot be listed: {error.strerror}. Give the folder that holds "
            "the photographs, or leave source_dir out for the five that are shipped."
        ) from None
