"""The stage of the fan-out over photographs: making one rendition. A pool worker imports this, and Pillow."""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image

from project_fanout.common import replace_file
from project_fanout.engine.model import Unit
from project_fanout.engine.stages import reused_if
from project_fanout.images import pixels
from project_fanout.images.credits import credits_of
from project_fanout.images.digests import is_intact, sha256_of
from project_fanout.images.encoding import check_encoding, encoded
from project_fanout.images.names import safe_name
from project_fanout.images.pictures import PictureError, load_reduced, opened
from project_fanout.images.settings import (
    DEFAULT_OUTPUT_DIR,
    DEFAULT_QUALITY,
    Credit,
    Format,
    KeepMetadata,
    OutputDir,
    Quality,
)

NO_METADATA: list[Credit] = []


@reused_if(is_intact)
def render(
    unit: Unit,
    *,
    output_dir: OutputDir = DEFAULT_OUTPUT_DIR,
    quality: Quality = DEFAULT_QUALITY,
    keep_metadata: KeepMetadata = NO_METADATA,
) -> dict[str, Any]:
    """Write one rendition and return its `path` (absolute), `format`, `width`, `height`, `bytes` and `sha256`.

    The file is upright, in sRGB and without metadata but for those to keep; never with the place where it was taken.
    JPEG cannot be transparent: it gets a white ground. The file appears whole or not at all, and
    replaces one of an earlier run.

    Raises:
        PictureError: the photograph cannot be read, or has changed since it was catalogued; or the
            rendition would be too tall for its format, or cannot be read.
    """
    wanted = unit.payload
    if "problem" in wanted:
        raise PictureError(wanted["problem"])
    name, width, height = wanted["format"], wanted["width"], wanted["height"]
    check_encoding(name, width, height)
    picture, kept = _scaled_down(wanted, (width, height), keep_metadata)
    content = encoded(picture, name, {**DEFAULT_QUALITY, **quality}[name], kept)
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


def _scaled_down(
    photograph: Mapping[str, Any], wanted: tuple[int, int], keep_metadata: Collection[Credit]
) -> tuple[Image.Image, bytes]:
    with opened(photograph["path"]) as image:
        # A fraction of a JPEG that is twice as large as needed holds all that LANCZOS can use.
        found, size = load_reduced(image, 2 * max(wanted)), tuple(photograph["size"])
        if found != size:
            _refuse_changed(f"{found[0]} x {found[1]} pixels, {size[0]} x {size[1]} when catalogued")
        digest = photograph.get("sha256")  # a catalogue of an earlier release had none
        if digest is not None and sha256_of(photograph["path"]) != digest:
            # The outcome would be taken for that of the photograph that was catalogued, should that come back.
            _refuse_changed("other content than when catalogued")
        return pixels.scaled(image, *wanted), credits_of(image, keep_metadata)


def _refuse_changed(how: str) -> NoReturn:
    raise PictureError(f"has changed: {how}; materialise the catalogue again")
