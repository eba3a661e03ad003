"""The stage of the fan-out over photographs: making one rendition. A pool worker imports this, and Pillow."""

import hashlib
from pathlib import Path
from typing import Any

from PIL import Image

from project_fanout.common import replace_file
from project_fanout.engine.model import Unit
from project_fanout.engine.stages import reused_if
from project_fanout.images import pixels
from project_fanout.images.digests import is_intact
from project_fanout.images.encoding import check_encoding, encoded
from project_fanout.images.names import safe_name
from project_fanout.images.pictures import PictureError, load_reduced, opened
from project_fanout.images.settings import (
    DEFAULT_OUTPUT_DIR,
    DEFAULT_QUALITY,
    Format,
    OutputDir,
    Quality,
)


@reused_if(is_intact)
def render(
    unit: Unit, *, output_dir: OutputDir = DEFAULT_OUTPUT_DIR, quality: Quality = DEFAULT_QUALITY
) -> dict[str, Any]:
    """Write one rendition and return its `path` (absolute), `format`, `width`, `height`, `bytes` and `sha256`.

    The file is upright, in sRGB and without metadata, also without the place where it was taken.
    JPEG cannot be transparent: it gets a white ground. The file appears whole or not at all, and
    replaces one of an earlier run.

    Raises:
        PictureError: the photograph cannot be read, or has changed since it was catalogued; or the
            rendition would be too tall for its format.
    """
    wanted = unit.payload
    if "problem" in wanted:
        raise PictureError(wanted["problem"])
    name, width, height = wanted["format"], wanted["width"], wanted["height"]
    check_encoding(name, width, height)
    picture = _scaled_down(wanted["path"], tuple(wanted["size"]), width, height)
    content = encoded(picture, name, {**DEFAULT_QUALITY, **quality}[name])
    path = rendition_path(output_dir, wanted["file"], width, name)
    replace_file(path, content)
    return {
        "path": str(path),
        "format": name,
        "width": width,
        "height": height,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def rendition_path(output_dir: str, file: str, width: int, name: Format) -> Path:
    """Return where a rendition goes: `<output_dir>/<safe name of the photograph>/<width>.<format>`."""
    extension = "jpg" if name == "jpeg" else name
    return Path(output_dir).expanduser().resolve() / safe_name(file) / f"{width}.{extension}"


def _scaled_down(path: str, size: tuple[int, int], width: int, height: int) -> Image.Image:
    with opened(path) as image:
        # A fraction of a JPEG that is twice as large as needed holds all that LANCZOS can use.
        found = load_reduced(image, 2 * max(width, height))
        if found != size:
            raise PictureError(
                f"has changed: {found[0]} x {found[1]} pixels, {size[0]} x {size[1]} when catalogued; "
                "materialise the catalogue again"
            )
        return pixels.scaled(image, width, height)
