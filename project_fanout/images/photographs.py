"""The records of the fan-out over photographs: which renditions each photograph gets."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from project_fanout.engine.model import Record, Unit
from project_fanout.images.pictures import PictureError
from project_fanout.images.pixels import scaled_height
from project_fanout.images.settings import (
    DEFAULT_OUTPUT_DIR,
    DEFAULT_WIDTHS,
    FORMATS,
    Formats,
    OutputDir,
    Widths,
)


def read_photographs(
    image_catalog: pd.DataFrame,
    *,
    formats: Formats = FORMATS,
    widths: Widths = DEFAULT_WIDTHS,
    output_dir: OutputDir = DEFAULT_OUTPUT_DIR,
) -> Iterator[Record]:
    """Yield one record per row of *image_catalog*: a photograph with one unit per rendition.

    A file that the catalogue could not read becomes a record with one unit that fails with the
    reason: what a run does about it is then a matter of `max_failed_ratio`, as with any other
    failure, and no picture is left out unnoticed.

    Raises:
        PictureError: *output_dir* lies within the catalogued folder: the next run would take
            renditions for photographs.
    """
    target = Path(output_dir).expanduser().resolve()
    for row in image_catalog.to_dict("records"):
        _check_apart(target, Path(row["path"]), row["file"])
        if isinstance(row["problem"], str):
            yield Record(key=row["file"], units=[Unit(key="picture", payload={"problem": row["problem"]})])
            continue
        size = int(row["width"]), int(row["height"])
        yield Record(
            key=row["file"],
            units=[
                Unit(
                    key=f"{name}-{width}",
                    payload={
                        "file": row["file"],
                        "path": row["path"],
                        "sha256": row["sha256"],
                        "size": list(size),
                        "format": name,
                        "width": width,
                        "height": scaled_height(width, *size),
                    },
                )
                for name in dict.fromkeys(formats)
                for width in fitting_widths(size[0], widths)
            ],
        )


def fitting_widths(own: int, widths: Sequence[int]) -> list[int]:
    """Return those of *widths* that do not enlarge a photograph of width *own*, ascending, each once.

    Where the photograph is narrower than the largest of them, its own width is the last one.
    """
    largest = min(own, max(widths))
    return sorted({largest, *(width for width in widths if width < largest)})


def _check_apart(target: Path, path: Path, file: str) -> None:
    source = path.parents[len(PurePosixPath(file).parts) - 1].resolve()
    if target.is_relative_to(source):
        raise PictureError(
            f"output_dir is {target}, within the folder of the photographs, {source}: the next run would "
            "take renditions for photographs. Give output_dir a folder outside of it."
        )
