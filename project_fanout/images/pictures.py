"""Picture files: opening them safely and saying plainly why one cannot be used."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from project_fanout.engine.errors import FanoutError
from project_fanout.images.digests import sha256_of

#: What Pillow may try. Others are kept out on purpose: EPS would start Ghostscript on a stranger's file.
#: Each is imported by name: looking one up makes Pillow import all of its forty in every worker.
ACCEPTED: tuple[str, ...] = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
        AvifImagePlugin.AvifImageFile,
        TiffImagePlugin.TiffImageFile,
        GifImagePlugin.GifImageFile,
        BmpImagePlugin.BmpImageFile,
        Jpeg2KImagePlugin.Jpeg2KImageFile,
        PpmImagePlugin.PpmImageFile,
    )
)
#: JPEG, and what phones write: a JPEG followed by previews, depth or gain maps that no browser shows.
_JPEGS = (JpegImagePlugin.JpegImageFile.format, MpoImagePlugin.MpoImageFile.format)

#: Pillow warns above this many pixels, since a small file can claim them and fill the memory.
DEFAULT_MAX_PIXELS = 89_478_485
#: Above this many Pillow itself refuses.
HIGHEST_MAX_PIXELS = 178_956_970

#: EXIF orientations that swap width and height.
TURNED = (5, 6, 7, 8)

_REDUCED_IMAGE = 1  # bit of TIFF's NewSubfileType: a smaller version of another picture in the file


class PictureError(FanoutError):
    """A file or folder cannot be used for photographs; the message is the reason."""


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


@contextmanager
def opened(path: str | Path, max_pixels: int = HIGHEST_MAX_PIXELS) -> Iterator[Image.Image]:
    """Open a still picture of at most *max_pixels*; its pixels are read when they are asked for.

    Raises:
        PictureError: it is not a regular file, empty, no picture, too large, or holds several.
    """
    _check_file(path)
    try:
        image = Image.open(path, formats=ACCEPTED)
    except UnidentifiedImageError:
        raise PictureError(f"not an image file, despite its name; accepted: {', '.join(ACCEPTED)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(f"possible decompression bomb: {error}") from None
    except OSError as error:
        raise PictureError(f"cannot be read: {error.strerror or error}") from None
    with image:
        pixels = image.width * image.height
        if pixels > max_pixels:
            raise PictureError(
                f"possible decompression bomb: {image.width} x {image.height} is {pixels:,} pixels, "
                f"more than max_pixels, {max_pixels:,}"
            )
        if (frames := count_frames(image)) > 1:
            pages = "pages" if image.format == "TIFF" else "frames"
            raise PictureError(
                f"{image.format} with {frames} {pages}: a rendition is one still picture and would lose the "
                "others; save the wanted one as a file of its own"
            )
        yield image


def loaded(image: Image.Image) -> None:
    """Read the pixels of *image*.

    Raises:
        PictureError: the file ends too early or its data is damaged, or the pixels are of a kind
            that has no agreed range.
    """
    try:
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError(f"truncated or damaged {image.format}: {error}") from None
    if image.mode == "F":
        raise PictureError("floating-point pixels have no agreed range; save it with 8 or 16 bits a channel")
    if image.mode == "I":
        low, high = cast("tuple[int, int]", image.getextrema())
        if low < 0 or high > 65_535:
            raise PictureError(f"pixels from {low} to {high}; save it with 8 or 16 bits a channel")


def count_frames(image: Image.Image) -> int:
    """Return how many pictures the file shows: frames, or pages that are not a preview of another."""
    if image.format in _JPEGS:
        return 1
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and isinstance(image, TiffImagePlugin.TiffImageFile):
        kinds = []
        for page in range(frames):
            image.seek(page)
            kinds.append(image.tag_v2.get(254, 0) & _REDUCED_IMAGE)
        image.seek(0)
        return max(1, kinds.count(0))
    return int(frames)


def orientation_of(image: Image.Image) -> int:
    """Return how the pixels of a loaded *image* are still to be turned: an EXIF orientation, 1 to 8."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF raises whatever its bytes lead to; the picture is fine
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def load_reduced(image: Image.Image, side: int) -> tuple[int, int]:
    """Read the pixels of *image* and return its size as seen.

    A JPEG is decoded at the smallest fraction of its size that keeps width and height above *side*:
    12 megapixels at one eighth take 20 ms instead of 70 ms.

    Raises:
        PictureError: as `loaded`.
    """
    width, height = image.size
    reducible = image.format in _JPEGS
    if reducible:
        image.draft(None, (side, side))
    loaded(image)
    if not reducible:
        # A TIFF is turned while it is loaded, so its size counts only now.
        width, height = image.size
    return (height, width) if orientation_of(image) in TURNED else (width, height)


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
                frames=getattr(image, "n_frames", 1),
                sha256=sha256_of(path),
            )
    except PictureError as error:
        problem = str(error)
    except Exception as error:
        # A decoder fed with damaged bytes raises whatever they lead to; one file must not stop the rest.
        problem = f"cannot be read: {type(error).__name__}: {error}"
    return PictureFile(file=file, path=str(path), bytes=size, problem=problem)


def _check_file(path: str | Path) -> None:
    """Refuse what is not a file with content, without opening it: opening a named pipe would block."""
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        raise PictureError(f"it does not exist, or is a broken link: {path}") from None
    except OSError as error:
        raise PictureError(f"cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        raise PictureError(f"not a file but {kinds.get(stat.S_IFMT(found.st_mode), 'a device')}")
    if not found.st_size:
        raise PictureError("the file is empty: 0 bytes")
