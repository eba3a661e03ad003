"""From pixels to the bytes of a file."""

import io
from typing import Any, Literal

from PIL import Image, features

from project_fanout.images import pixels
from project_fanout.images.pictures import PictureError
from project_fanout.images.settings import MAX_SIDE

Encoding = Literal["avif", "webp", "jpeg", "png"]

_SAVE_OPTIONS: dict[Encoding, dict[str, Any]] = {
    # Speed 8 takes a quarter of the time of Pillow's default 6 for files 2 to 4 % larger. One thread:
    # the pool already keeps every core busy.
    "avif": {"speed": 8, "max_threads": 1},
    "webp": {"method": 4},
    "jpeg": {"progressive": True, "optimize": True},
    "png": {"optimize": True},
}
#: Formats that a build of Pillow may lack.
_OPTIONAL = ("avif", "webp")


def check_encoding(name: Encoding, width: int, height: int) -> None:
    """Refuse what cannot be written, before any pixel is touched.

    Raises:
        PictureError: this build of Pillow cannot write the format, or the format cannot hold the size.
    """
    if name == "webp" and max(width, height) > MAX_SIDE:
        side = "tall" if height > MAX_SIDE else "wide"
        raise PictureError(f"{width} x {height} is too {side} for WebP, which ends at {MAX_SIDE:,} pixels")
    if name in _OPTIONAL and not features.check(name):
        raise PictureError(f"this build of Pillow cannot write {name}: install its wheel from PyPI")


def encoded(picture: Image.Image, name: Encoding, quality: int | None = None) -> bytes:
    """Return a file with *picture* (L, RGB or RGBA); JPEG cannot be transparent and gets a white ground.

    *quality* is 1 to 100; None for PNG, which keeps every pixel.
    """
    picture = pixels.on_white(picture) if name == "jpeg" else pixels.without_full_alpha(picture)
    content = io.BytesIO()
    options = _SAVE_OPTIONS[name] if quality is None else {**_SAVE_OPTIONS[name], "quality": quality}
    picture.save(content, name, **options)
    return content.getvalue()
