"""The tables of the images workload, with the same columns and types whatever was found."""

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from project_fanout.images.inspection import PictureFile
from project_fanout.images.pictures import PictureError
from project_fanout.images.settings import FORMATS

CATALOG_COLUMNS = {
    "file": ("string", "Path within source_dir; the photograph's key."),
    "path": ("string", "Absolute path of the file."),
    "problem": ("string", "Why it cannot be rendered; empty for a readable picture."),
    "format": ("string", "Format of the content, whatever the file is called."),
    "mode": ("string", "Kind of pixels, as Pillow names it."),
    "width": ("Int64", "Width in pixels as seen, after turning by the EXIF orientation."),
    "height": ("Int64", "Height in pixels as seen."),
    "bytes": ("Int64", "Size of the file."),
    "orientation": ("Int64", "EXIF orientation of the stored pixels, 1 to 8."),
    "frames": ("Int64", "Number of frames or pages in the file."),
    "sha256": ("string", "SHA-256 of the file; empty for one that cannot be rendered."),
    "note": ("string", "What its renditions cannot keep of its colours; empty for nothing."),
}

RENDITION_COLUMNS = {
    "record_key": ("string", "The photograph: its path within source_dir."),
    "unit_key": ("string", "The rendition: its format and width."),
    "stage": ("string", "The stage in which the unit ended."),
    "status": ("string", "succeeded, failed, timed_out or crashed."),
    "attempts": ("Int64", "How often it was tried."),
    "seconds": ("Float64", "Time in the worker, all attempts together."),
    "error": ("string", "Why there is no such rendition; empty if there is."),
    "path": ("string", "Absolute path of the file."),
    "format": ("string", "avif, webp or jpeg."),
    "width": ("Int64", "Width in pixels."),
    "height": ("Int64", "Height in pixels."),
    "bytes": ("Int64", "Size of the file."),
    "sha256": ("string", "SHA-256 of the file."),
}

REPORT_COLUMNS = {
    "file": ("string", "The photograph: its path within source_dir."),
    "format": ("string", "Format of the renditions."),
    "renditions": ("Int64", "How many there are."),
    "bytes": ("Int64", "Size of all of them."),
    "original_bytes": ("Int64", "Size of the original file."),
    "widest": ("Int64", "Width of the widest rendition, in pixels."),
    "widest_bytes": ("Int64", "Size of the widest rendition: what a large screen loads."),
    "saved_bytes": ("Int64", "How much less that is than the original; negative if it is more."),
    "saved_ratio": ("Float64", "The same as a share of the original."),
}


def typed(frame: pd.DataFrame, columns: dict[str, tuple[str, str]]) -> pd.DataFrame:
    """Return *frame* with exactly *columns*, in their types.

    A column that happens to hold nothing but None has no type of its own, and a database that
    guessed one would refuse the first text that comes.
    """
    types = {name: kind for name, (kind, _) in columns.items()}
    table: pd.DataFrame = frame.reindex(columns=list(columns)).astype(types)
    return table


def catalog_table(pictures: Sequence[PictureFile]) -> pd.DataFrame:
    """Return one row per picture file, in the order given."""
    return typed(pd.DataFrame([asdict(picture) for picture in pictures]), CATALOG_COLUMNS)


def renditions_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per rendition, wanted or made, in record and unit order."""
    return typed(frame, RENDITION_COLUMNS)


def check_same_photographs(image_catalog: pd.DataFrame, web_renditions: pd.DataFrame) -> None:
    """Refuse renditions of photographs that the catalogue does not have, or not any more.

    Raises:
        PictureError: names the first of them.
    """
    readable = set(image_catalog.loc[image_catalog["problem"].isna(), "file"])
    made = web_renditions.loc[web_renditions["status"] == "succeeded", "record_key"]
    if strange := [file for file in dict.fromkeys(made) if file not in readable]:
        others = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        raise PictureError(
            f"web_renditions has renditions of {strange[0]!r}{others}, which image_catalog does not have as readable: "
            "one of the two is older than the other. Materialise web_renditions again."
        )


def report_table(image_catalog: pd.DataFrame, web_renditions: pd.DataFrame) -> pd.DataFrame:
    """Return one row per photograph and format, in the order of the renditions.

    What is saved compares the widest rendition with the original: both fill a large screen.
    """
    made = web_renditions[web_renditions["status"] == "succeeded"]
    groups = made.groupby(["record_key", "format"], sort=False)
    widest = made.loc[groups["width"].idxmax()]
    original_bytes = image_catalog.set_index("file")["bytes"].loc[widest["record_key"]].array
    saved_bytes = original_bytes - widest["bytes"].array
    report = {
        "file": widest["record_key"].array,
        "format": widest["format"].array,
        "renditions": groups.size().array,
        "bytes": groups["bytes"].sum().array,
        "original_bytes": original_bytes,
        "widest": widest["width"].array,
        "widest_bytes": widest["bytes"].array,
        "saved_bytes": saved_bytes,
        "saved_ratio": saved_bytes / original_bytes,
    }
    return typed(pd.DataFrame(report), REPORT_COLUMNS)


def bytes_by_photograph(report: pd.DataFrame) -> pd.DataFrame:
    """Return one row per photograph: bytes of its original, and of its renditions in each format."""
    by_format = report.pivot(index=["file", "original_bytes"], columns="format", values="bytes")
    names = [name for name in FORMATS if name in by_format.columns]
    table: pd.DataFrame = by_format[names].reset_index().rename_axis(columns=None)
    return table


def saving_by_format(report: pd.DataFrame) -> pd.DataFrame:
    """Return one row per format: how much there is, and the widest ones against the originals."""
    totals: pd.DataFrame = report.groupby("format", sort=False).agg(
        photos=("file", "nunique"),
        renditions=("renditions", "sum"),
        bytes=("bytes", "sum"),
        original_bytes=("original_bytes", "sum"),
        widest_bytes=("widest_bytes", "sum"),
        saved_bytes=("saved_bytes", "sum"),
    )
    totals["saved_ratio"] = totals["saved_bytes"] / totals["original_bytes"]
    table: pd.DataFrame = totals.reset_index()
    return table
