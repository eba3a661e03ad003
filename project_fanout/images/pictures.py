"""Picture files: opening them safely and saying plainly why one cannot be used."""

import io
import stat
from collections.abc import Iterator
from contextlib import contextmanager
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
from project_fanout.images import avif, png, profiles, tiff

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
        BmpImagePlugin.DibImageFile,
        Jpeg2KImagePlugin.Jpeg2KImageFile,
        PpmImagePlugin.PpmImageFile,
    )
)
#: JPEG, and what phones write: a JPEG followed by previews, depth or gain maps that no browser shows.
_JPEGS = (JpegImagePlugin.JpegImageFile.format, MpoImagePlugin.MpoImageFile.format)

#: Of these a file's first bytes say too little: texts begin like them.
_KNOWN_LATE = ("BMP", "DIB", "PPM")

#: What is known of a picture beside what Pillow knows, by its name in `info`: how many pictures the file holds; the
#: samples that are black and white in grey of more than 8 bits; whether all of it is grey; what a rendition cannot keep
#: of its colours; the texts of a PNG by keyword.
FRAMES, LEVELS, GREY, NOTE, TEXTS = "frames", "levels", "grey", "note", "texts"

#: Pillow warns above this many pixels, since a small file can claim them and fill the memory.
DEFAULT_MAX_PIXELS = 89_478_485
#: Above this many Pillow itself refuses.
HIGHEST_MAX_PIXELS = 178_956_970

#: EXIF orientations that swap width and height.
TURNED = (5, 6, 7, 8)


class PictureError(FanoutError):
    """A file or folder cannot be used for photographs; the message is the reason."""


@contextmanager
def opened(path: str | Path, max_pixels: int = HIGHEST_MAX_PIXELS) -> Iterator[Image.Image]:
    """Open a still picture of at most *max_pixels*; its pixels are read when they are asked for.

    Raises:
        PictureError: it is not a regular file, empty, no picture, too large, or holds several.
    """
    _check_file(path)
    with _identified(path) as image:
        shown, count = count_frames(image)
        pixels = image.width * image.height
        if pixels > max_pixels:
            raise PictureError(
                f"possible decompression bomb: {image.width} x {image.height} is {pixels:,} pixels, "
                f"more than max_pixels, {max_pixels:,}"
            )
        is_tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
        if shown > 1 or (is_tiff and count == tiff.MOST_PAGES):
            pages = "pages" if is_tiff else "frames"
            most = " or more" if is_tiff and count == tiff.MOST_PAGES else ""
            raise PictureError(
                f"{image.format} with {max(shown, count) if most else shown}{most} {pages}: a rendition is one still "
                "picture and would lose the others; save the wanted one as a file of its own"
            )
        image.info[FRAMES] = count
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
    png.key_out(image)
    if image.mode == "F":
        raise PictureError("floating-point pixels have no agreed range; save it with 8 or 16 bits a channel")
    if image.mode == "I":
        low, high = cast("tuple[int, int]", image.getextrema())
        if low < 0 or high > 65_535:
            raise PictureError(f"pixels from {low} to {high}; save it with 8 or 16 bits a channel")


def count_frames(image: Image.Image) -> tuple[int, int]:
    """Return how many pictures the file shows, pages that are not a preview of another; and how many it holds.

    Of a TIFF the first that it shows is the one that *image* is then.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        shown, pages = tiff.turn_to_picture(image)
        image.info[LEVELS] = tiff.levels_of(image)
        return shown, pages
    frames = int(getattr(image, "n_frames", 1))
    return (1 if image.format in _JPEGS else frames), frames


def exif_value(image: Image.Image, tag: int) -> object:
    """Return what the EXIF of *image* has under *tag*, None for nothing."""
    try:
        return image.getexif().get(tag)
    except Exception:  # damaged EXIF raises whatever its bytes lead to; the picture is fine
        return None


def orientation_of(image: Image.Image) -> int:
    """Return how the pixels of a loaded *image* are still to be turned: an EXIF orientation, 1 to 8."""
    value = exif_value(image, ExifTags.Base.Orientation)
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


def _identified(path: str | Path) -> Image.Image:
    """Open a picture of an accepted format, with what its file says of its colours where Pillow keeps ICC profiles.

    Raises:
        PictureError: it is none, or claims too many pixels for Pillow.
    """
    try:
        found = png.read_png(path)
        image = Image.open(path if found is None else io.BytesIO(found.content), formats=ACCEPTED)
        if found is not None:
            png.prepare(image, found)
            image.info["icc_profile"], image.info[NOTE] = found.colours
            image.info[GREY], image.info[TEXTS] = found.is_grey, found.texts
        elif image.format == AvifImagePlugin.AvifImageFile.format and "icc_profile" not in image.info:
            points = avif.code_points(path)
            if points is not None:
                image.info["icc_profile"] = profiles.of_code_points(*points, video_is_srgb=True)
                image.info[NOTE] = profiles.note_on(points[1])
    except UnidentifiedImageError:
        raise PictureError(_why_unidentified(path)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(f"possible decompression bomb: {error}") from None
    except OSError as error:
        raise PictureError(f"cannot be read: {error.strerror or error}") from None
    return image


def _why_unidentified(path: str | Path) -> str:
    with open(path, "rb") as file:
        beginning = file.read(16)
    for name in ACCEPTED:
        accept = Image.OPEN[name][1]
        if name not in _KNOWN_LATE and accept is not None and accept(beginning) is True:
            return f"a damaged {name}, or one of a kind that is not read; save it anew, with 8 or 16 bits a channel"
    return f"not an image file, despite its name; accepted: {', '.join(ACCEPTED)}"


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
