"""From pixels to the bytes of a file."""

import io
from typing import Any, Literal

from PIL import Image, features

from project_fanout.images import pixels
from project_fanout.images.pictures import PictureError
from project_fanout.images.settings import MAX_SIDES

Encoding = Literal["avif", "webp", "jpeg", "png"]

_SAVE_OPTIONS: dict[Encoding, dict[str, Any]] = {
    # Speed 8 takes a quarter of the time of Pillow's default 6 for files 2 to 4 % larger. One thread:
    # the pool already keeps every core busy.
    "avif": {"speed": 8, "max_threads": 1},
    "webp": {"method": 4},
    "jpeg": {"progressive": True, "optimize": True},
    "png": {"optimize": True},
}
_NAMES: dict[Encoding, str] = {"avif": "AVIF", "webp": "WebP", "jpeg": "JPEG", "png": "PNG"}
#: Formats that a build of Pillow may lack.
_OPTIONAL = ("avif", "webp")


def check_encoding(name: Encoding, width: int, height: int) -> None:
    """Refuse what cannot be written, before any pixel is touched.

    Raises:
        PictureError: this build of Pillow cannot write the format, or the format cannot hold the size.
    """
    most = MAX_SIDES.get(name, max(width, height))
    if max(width, height) > most:
        side = "tall" if height > most else "wide"
        raise PictureError(
            f"{width} x {height} is too {side} for {_NAMES[name]}, which ends at {most:,} pixels"
        )
    if name in _OPTIONAL and not features.check(name):
        raise PictureError(f"this build of Pillow cannot write {name}: install its wheel from PyPI")


def encoded(
    picture: Image.Image, name: Encoding, quality: int | None = None, credits_exif: bytes = b""
) -> bytes:
    """Return a file with *picture* (L, RGB or RGBA); JPEG cannot be transparent and gets a white ground.

    It has been opened and read to its end: encoders also write what no decoder opens.

    Args:
        picture: the pixels.
        name: the format.
        quality: 1 to 100; None for PNG, which keeps every pixel.
        credits_exif: EXIF that goes along.

    Raises:
        PictureError: what was written cannot be read.
    """
    picture = pixels.on_white(picture) if name == "jpeg" else pixels.without_full_alpha(picture)
    options: dict[str, Any] = dict(_SAVE_OPTIONS[name])
    if quality is not None:
        options["quality"] = quality
    if credits_exif:
        options["exif"] = credits_exif
    content = io.BytesIO()
    picture.save(content, name, **options)
    _verify(content.getvalue(), name, picture.size)
    return content.getvalue()


def _verify(content: bytes, name: Encoding, size: tuple[int, int]) -> None:
    try:
        with Image.open(io.BytesIO(content), formats=[name]) as made:
            made.draft(None, (1, 1))  # of a JPEG every bit is read, and one pixel in 64 is worked out
            found = made.size if name != "jpeg" else size
            made.load()
    except Exception as error:  # whatever it raises, nobody can open the file
        raise PictureError(
            f"the {_NAMES[name]} of {size[0]} x {size[1]} pixels that was written cannot be read: {error}"
        ) from None
    if found != size:
        raise PictureError(f"the {_NAMES[name]} that was written has {found} pixels, wanted: {size}")
