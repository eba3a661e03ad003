"""Reading each picture file to its end, in the pool and under a deadline: a stranger's bytes may take for ever."""

import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from project_fanout.engine.model import Unit
from project_fanout.engine.pools.calls import UnitCall, UnitPool, UnitReply
from project_fanout.engine.stages import describe_stage
from project_fanout.engine.values import decode, encode
from project_fanout.images.digests import sha256_of
from project_fanout.images.pictures import (
    DEFAULT_MAX_PIXELS,
    FRAMES,
    NOTE,
    PictureError,
    load_reduced,
    opened,
    orientation_of,
)

DEFAULT_SECONDS = 60.0

# An interrupt reaches a step's thread between two waits.
_TURN_S = 0.25
_NO_PARAMS = pickle.dumps({})


@dataclass(frozen=True, slots=True)
class PictureFile:
    """One picture file as it was found.

    Args:
        file: path within the folder that was catalogued, with `/`; the photograph's key.
        path: absolute path.
        problem: why it cannot be rendered, None if it can. Of what follows only `bytes` may be
            known then.
        format: Pillow's name for the format of the content, whatever the file is called.
        mode: Pillow's name for the kind of pixels, e.g. RGB, CMYK, I;16.
        width: in pixels, as seen: after turning by the EXIF orientation.
        height: likewise.
        bytes: size of the file.
        orientation: EXIF orientation that is still to be applied to the pixels, 1 to 8.
        frames: number of frames or pages.
        sha256: of the file, None for one that cannot be rendered.
        note: what its renditions cannot keep of its colours, None for nothing.
    """

    file: str
    path: str
    problem: str | None = None
    format: str | None = None
    mode: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    orientation: int | None = None
    frames: int | None = None
    sha256: str | None = None
    note: str | None = None


def inspect(file: str, path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> PictureFile:
    """Read the picture at *path* to its last pixel and say what it is, or what is wrong with it."""
    size = None
    try:
        size = path.stat().st_size if path.exists() else None
        with opened(path, max_pixels) as image:
            width, height = load_reduced(image, 1)
            return PictureFile(
                file=file,
                path=str(path),
                format=image.format,
                mode=image.mode,
                width=width,
                height=height,
                bytes=size,
                orientation=orientation_of(image),
                frames=image.info[FRAMES],
                sha256=sha256_of(path),
                note=image.info.get(NOTE),
            )
    except PictureError as error:
        problem = str(error)
    except Exception as error:
        # A decoder fed with damaged bytes raises whatever they lead to; one file must not stop the rest.
        problem = f"cannot be read: {type(error).__name__}: {error}"
    return PictureFile(file=file, path=str(path), bytes=size, problem=problem)


def inspect_unit(unit: Unit) -> dict[str, Any]:
    """Return what `inspect` says of one picture, as a worker of the pool hands it back."""
    return asdict(inspect(**unit.payload))


def inspect_all(
    found: Sequence[tuple[str, Path]], max_pixels: int, pool: UnitPool, seconds: float = DEFAULT_SECONDS
) -> Iterator[PictureFile]:
    """Yield what each of the pictures is, in the order given; one that takes longer than *seconds* has that as problem.

    Args:
        found: key and path of each.
        max_pixels: of a picture; one with more is not read.
        pool: where they are read.
        seconds: most time for one.
    """
    stage = describe_stage(inspect_unit)
    pending: list[Future[UnitReply]] = []
    for file, path in found:
        payload = encode({"file": file, "path": path, "max_pixels": max_pixels}, "a picture")
        call = UnitCall(
            stage.reference,
            file,
            "picture",
            payload,
            _NO_PARAMS,
            import_root=stage.import_root,
            timeout_s=seconds,
        )
        pending.append(pool.submit(call))
    try:
        for (file, path), future in zip(found, pending, strict=True):
            while not wait([future], timeout=_TURN_S).done:
                pass
            reply = future.result()
            if reply.encoded is not None and reply.succeeded:
                yield PictureFile(**decode(reply.encoded))
            else:
                yield _given_up(file, path, reply, seconds)
    finally:
        for future in pending:
            future.cancel()


def _given_up(file: str, path: Path, reply: UnitReply, seconds: float) -> PictureFile:
    if reply.status == "timed_out":
        problem = f"reading it takes more than {seconds:g} s; save it anew, or raise seconds_per_picture"
    else:
        problem = f"cannot be read: {reply.error}"
    return PictureFile(file=file, path=str(path), bytes=_size_of(path), problem=problem)


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
