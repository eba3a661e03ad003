"""The image task of Conductor's example: `image_convert_resize`, and the same as a chain of four stages."""

import secrets
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from annotated_types import Ge, Le, MinLen
from PIL import Image

from project_fanout.common import replace_file
from project_fanout.engine.model import Unit
from project_fanout.forks.fetched import fetched
from project_fanout.forks.fetching import RemoteFiles
from project_fanout.forks.files import local_path, opened_locally
from project_fanout.images import pixels
from project_fanout.images.encoding import Encoding, check_encoding, encoded
from project_fanout.images.names import safe_name
from project_fanout.images.pictures import DEFAULT_MAX_PIXELS, PictureError, load_reduced, loaded, opened
from project_fanout.images.settings import DEFAULT_QUALITY, MAX_SIDE, OutputDir

DEFAULT_OUTPUT_DIR = "output/forks"
#: Name of the task, and of the workflow that does the same in four stages.
TASK, WORKFLOW = "image_convert_resize", "image_convert_resize_subworkflow"

OutputFormat = Literal["png", "jpg", "jpeg", "webp", "avif"]
Side = Annotated[int, Ge(1), Le(MAX_SIDE)]
FileLocation = Annotated[
    str, "A picture: a local path, a file: URL, or an http or https URL of an allowed host.", MinLen(1)
]
KeepsAspectRatio = Annotated[
    bool,
    "Fit the picture into the size and keep its aspect ratio, or stretch it to exactly the size.",
]


class MadePicture(TypedDict):
    """What the task returns: where the file is (absolute), and what Pillow finds in it."""

    path: str
    format: str
    width: int
    height: int
    bytes: int


def image_convert_resize(
    unit: Unit,
    *,
    fileLocation: FileLocation,
    outputFormat: OutputFormat,
    outputWidth: Side,
    outputHeight: Side,
    maintainAspectRatio: KeepsAspectRatio = True,
    output_dir: OutputDir = DEFAULT_OUTPUT_DIR,
    remote_files: RemoteFiles,
) -> MadePicture:
    """Write the picture at *fileLocation* in another format and size to a file that is named like the task.

    The result is upright, in sRGB and without metadata. A size larger than the picture enlarges it.

    Raises:
        FileLocationError: the file cannot be had.
        PictureError: it is no picture, or the wanted one cannot be written.
    """
    size = _wanted(outputWidth, outputHeight)
    check_encoding(_encoding(outputFormat), *size)
    with opened_locally(fileLocation, remote_files) as path:
        picture = _resized(path, size, keep=maintainAspectRatio)
    target = _target(output_dir, unit.key, outputFormat)
    _write(picture, target, outputFormat)
    return _made(target)


def fetch_picture(
    unit: Unit,
    *,
    fileLocation: FileLocation,
    output_dir: OutputDir = DEFAULT_OUTPUT_DIR,
    remote_files: RemoteFiles,
) -> dict[str, Any]:
    """First stage: have the picture as a local file, and a folder for what the stages hand on."""
    source = local_path(fileLocation)
    # A name of its own, because two runs may do the same task at once.
    work = _root(output_dir) / ".work" / f"{safe_name(unit.key)}.{secrets.token_hex(4)}"
    work.mkdir(parents=True)
    with ExitStack() as on_error:
        on_error.callback(shutil.rmtree, work, ignore_errors=True)
        if source is None:
            source = work / "source"
            with fetched(fileLocation, remote_files) as file:
                shutil.copyfile(file, source)
        with opened(source, DEFAULT_MAX_PIXELS) as image:
            on_error.pop_all()
            return {"source": str(source), "work": str(work), "width": image.width, "height": image.height}


def resize_picture(
    unit: Unit, *, outputWidth: Side, outputHeight: Side, maintainAspectRatio: KeepsAspectRatio = True
) -> dict[str, Any]:
    """Second stage: bring it to the wanted size, kept without loss."""
    picture = _resized(
        Path(unit.payload["source"]), _wanted(outputWidth, outputHeight), keep=maintainAspectRatio
    )
    resized = Path(unit.payload["work"]) / "resized.png"
    picture.save(resized, "png", compress_level=1)
    return {"resized": str(resized), "work": unit.payload["work"]}


def convert_picture(
    unit: Unit, *, outputFormat: OutputFormat, output_dir: OutputDir = DEFAULT_OUTPUT_DIR
) -> dict[str, Any]:
    """Third stage: write it in the wanted format."""
    target = _target(output_dir, unit.key, outputFormat)
    with Image.open(unit.payload["resized"], formats=["PNG"]) as image:
        image.load()
        check_encoding(_encoding(outputFormat), *image.size)
        _write(image, target, outputFormat)
        return {"path": str(target), "size": list(image.size), "work": unit.payload["work"]}


def verify_picture(unit: Unit, *, outputFormat: OutputFormat) -> MadePicture:
    """Fourth stage: read the file to its last pixel, compare it with what was wanted, and clear up.

    Raises:
        PictureError: the file is not what the stages before said.
    """
    made = _made(Path(unit.payload["path"]))
    wanted = {"format": _encoding(outputFormat), "size": unit.payload["size"]}
    found = {"format": made["format"], "size": [made["width"], made["height"]]}
    if found != wanted:
        raise PictureError(f"{made['path']} has {found}, wanted: {wanted}")
    shutil.rmtree(unit.payload["work"], ignore_errors=True)
    return made


def fitted(width: int, height: int, box_width: int, box_height: int) -> tuple[int, int]:
    """Return the largest size of the aspect ratio *width* to *height* in a box, each side at least 1."""
    if width * box_height >= box_width * height:
        return box_width, min(box_height, pixels.scaled_height(box_width, width, height))
    return min(box_width, pixels.scaled_height(box_height, height, width)), box_height


def _resized(path: Path, wanted: tuple[int, int], *, keep: bool) -> Image.Image:
    with opened(path, DEFAULT_MAX_PIXELS) as image:
        size = load_reduced(image, 2 * max(wanted))
        return pixels.scaled(image, *(fitted(*size, *wanted) if keep else wanted))


def _wanted(width: int, height: int) -> tuple[int, int]:
    if width * height > DEFAULT_MAX_PIXELS:
        raise PictureError(
            f"{width} x {height} is {width * height:,} pixels, accepted: {DEFAULT_MAX_PIXELS:,} or fewer"
        )
    return width, height


def _encoding(output_format: OutputFormat) -> Encoding:
    return "jpeg" if output_format == "jpg" else output_format


def _root(output_dir: str) -> Path:
    return Path(output_dir).expanduser().resolve()


def _target(output_dir: str, reference: str, output_format: OutputFormat) -> Path:
    """Return where a task's picture goes: a safe name, so that no reference leads out of *output_dir*."""
    return _root(output_dir) / f"{safe_name(reference)}.{output_format}"


def _write(picture: Image.Image, target: Path, output_format: OutputFormat) -> None:
    name = _encoding(output_format)
    quality = None if name == "png" else DEFAULT_QUALITY[name]
    replace_file(target, encoded(picture, name, quality))


def _made(path: Path) -> MadePicture:
    with opened(path) as image:
        loaded(image)
        return MadePicture(
            path=str(path),
            format=str(image.format).lower(),
            width=image.width,
            height=image.height,
            bytes=path.stat().st_size,
        )
