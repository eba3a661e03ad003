"""The assets of the images workload: catalogue, renditions, report."""

from collections.abc import Iterator, Mapping
from typing import Annotated

import dagster as dg
import pandas as pd
from annotated_types import MinLen
from pydantic import Field

from project_fanout.common import replace_file
from project_fanout.engine.policy import FanoutPolicy
from project_fanout.engine.pools.process.pool import ProcessPool
from project_fanout.images import tables
from project_fanout.images.catalog import find_pictures
from project_fanout.images.contact_sheet import contact_sheet
from project_fanout.images.inspection import DEFAULT_SECONDS
from project_fanout.images.page import PAGE_NAME, page_folder, page_html
from project_fanout.images.photographs import read_photographs
from project_fanout.images.pictures import DEFAULT_MAX_PIXELS, HIGHEST_MAX_PIXELS
from project_fanout.images.renditions import render
from project_fanout.orchestration import build_fanout_asset
from project_fanout.orchestration.markdown_table import markdown_table
from project_fanout.orchestration.step_process import end_with_the_run

GROUP = "images"
#: Key of the IO manager that stores the tables.
WAREHOUSE = "warehouse"
ALL_READABLE = "every_picture_is_readable"

#: Of one rendition; the slowest, an AVIF of 16,383 pixels' width, takes about a minute.
DEADLINE_S = 600.0

_SHOWN = 20  # files that an event's metadata or the log names; all of them are in the database


class ImageCatalogConfig(dg.Config):
    """Where the photographs are."""

    source_dir: str | None = Field(
        default=None,
        description="Folder with the photographs; those in the folders below it count too. Default: the five "
        "photographs that are shipped with the package.",
    )
    exclude: list[Annotated[str, MinLen(1)]] = Field(
        default=[],
        description='Files that are left out, e.g. "*.heic", "raw" (every file or folder of that name, with all in it) '
        'or "2019/**/draft_*"; capitals make no difference. Hidden files and what a NAS or a system puts among them '
        "(@eaDir, #recycle, __MACOSX ...) always are.",
    )
    leave_out: list[str] = Field(
        default=[], description="Paths within source_dir of files that are ignored, e.g. still being copied."
    )
    as_of: float | None = Field(
        default=None,
        description="Seconds since 1970: files that have changed later are ignored. Default: none is.",
    )
    max_pixels: int = Field(
        default=DEFAULT_MAX_PIXELS,
        ge=1,
        le=HIGHEST_MAX_PIXELS,
        description="Refuse a picture of more pixels than this: a small file can claim enough of them to "
        "fill the memory. Reading one takes up to 8 bytes a pixel, of AVIF 9, of WebP 16, of JPEG 2000 19 to 24, "
        "of a PNG of 16 bits with a key colour 14.",
    )
    seconds_per_picture: float = Field(
        default=DEFAULT_SECONDS,
        gt=0,
        le=86_400,
        description="A picture that takes longer to read counts as one that cannot be rendered: a small file can "
        "keep a decoder busy for hours.",
    )


def column_schema(columns: Mapping[str, tuple[str, str]]) -> dg.TableSchema:
    """Return the columns of a table as Dagster shows them, from name to type and description."""
    return dg.TableSchema(
        [dg.TableColumn(name, kind.lower(), description) for name, (kind, description) in columns.items()]
    )


@dg.asset(
    group_name=GROUP,
    kinds={"python", "duckdb"},
    io_manager_key=WAREHOUSE,
    check_specs=[
        dg.AssetCheckSpec(
            ALL_READABLE,
            asset="image_catalog",
            description="Every file with a picture's name is a still picture that can be decoded to its end.",
        )
    ],
    metadata={"dagster/column_schema": column_schema(tables.CATALOG_COLUMNS)},
)
def image_catalog(
    context: dg.AssetExecutionContext, config: ImageCatalogConfig
) -> Iterator[dg.Output[pd.DataFrame] | dg.AssetCheckResult]:
    """The pictures in a folder: one row per file, read to its last pixel.

    A file that cannot be rendered keeps its row, with the reason in `problem`: downstream it counts
    as a failure, so that `max_failed_ratio` decides about it and nothing is left out unnoticed.
    """
    # A pool, because what strangers' bytes do to a decoder must neither hold up nor end the run.
    end_with_the_run()
    with ProcessPool() as pool:
        catalog = find_pictures(
            config.source_dir,
            config.max_pixels,
            exclude=config.exclude,
            leave_out=frozenset(config.leave_out),
            as_of=config.as_of,
            pool=pool,
            seconds=config.seconds_per_picture,
        )
    for picture in catalog.unreadable[:_SHOWN]:
        context.log.warning("%s: %s", picture.file, picture.problem)
    for pattern in catalog.unmatched:
        context.log.warning("exclude has %r, but no file in %s matches it.", pattern, catalog.source_dir)
    left_out = pd.DataFrame(catalog.left_out_by_suffix, columns=["why", "suffix", "files"])
    if catalog.left_out:
        kinds = ", ".join(
            f"{count} {suffix} ({why})" for why, suffix, count in catalog.left_out_by_suffix[:_SHOWN]
        )
        context.log.info("Left out: %s.", kinds)
    unreadable = tables.catalog_table(catalog.unreadable)[["file", "problem"]]
    noted = tables.catalog_table([picture for picture in catalog.readable if picture.note])[["file", "note"]]
    yield dg.Output(
        tables.catalog_table(catalog.pictures),
        metadata={
            "source_dir": dg.MetadataValue.path(str(catalog.source_dir)),
            "readable": len(catalog.readable),
            "unreadable": len(unreadable),
            "unreadable_pictures": markdown_table(unreadable),
            "colours_that_may_differ": markdown_table(noted),
            "left_out": markdown_table(left_out),
            "ignored_files": ", ".join(catalog.ignored[:_SHOWN]) or "none",
        },
    )
    yield dg.AssetCheckResult(
        check_name=ALL_READABLE,
        passed=unreadable.empty,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(unreadable)} of {len(catalog.pictures)} cannot be rendered.",
        metadata={"unreadable_pictures": markdown_table(unreadable)},
    )


def renditions_with_sheet(frame: pd.DataFrame) -> dg.MaterializeResult[pd.DataFrame]:
    """Return the table of the renditions, with a contact sheet among the metadata."""
    table = tables.renditions_table(frame)
    return dg.MaterializeResult(
        value=table, metadata={"contact_sheet": dg.MetadataValue.md(contact_sheet(table))}
    )


web_renditions = build_fanout_asset(
    "web_renditions",
    records=read_photographs,
    stages=[render],
    aggregate=renditions_with_sheet,
    ins={"image_catalog": dg.AssetIn()},
    group_name=GROUP,
    kinds={"python", "duckdb"},
    io_manager_key=WAREHOUSE,
    policy=FanoutPolicy(unit_timeout_s=DEADLINE_S),
    code_version="2",
    description="Every photograph as AVIF, WebP and JPEG in widths from 160 to 1,920 pixels, never enlarged: "
    "upright, in sRGB, without metadata. One row per rendition.",
)

# The same functions over the same catalogue: only params differ.
thumbnails = build_fanout_asset(
    "thumbnails",
    records=read_photographs,
    stages=[render],
    aggregate=renditions_with_sheet,
    params={"widths": [96, 192], "formats": ["webp"], "output_dir": "output/thumbnails"},
    ins={"image_catalog": dg.AssetIn()},
    group_name=GROUP,
    kinds={"python", "duckdb"},
    io_manager_key=WAREHOUSE,
    policy=FanoutPolicy(unit_timeout_s=DEADLINE_S),
    code_version="2",
    description="Every photograph as WebP, 96 and 192 pixels wide. One row per thumbnail.",
)


@dg.asset(
    group_name=GROUP,
    kinds={"python", "duckdb", "html"},
    io_manager_key=WAREHOUSE,
    metadata={"dagster/column_schema": column_schema(tables.REPORT_COLUMNS)},
)
def renditions_report(
    context: dg.AssetExecutionContext, image_catalog: pd.DataFrame, web_renditions: pd.DataFrame
) -> dg.MaterializeResult[pd.DataFrame]:
    """What the renditions weigh by photograph and format, what that saves, and a page that shows them all."""
    tables.check_same_photographs(image_catalog, web_renditions)
    report = tables.report_table(image_catalog, web_renditions)
    metadata: dict[str, dg.MetadataValue] = {
        "saving_by_format": markdown_table(tables.saving_by_format(report)),
        "bytes_by_photograph": markdown_table(tables.bytes_by_photograph(report)),
    }
    folder = page_folder(web_renditions)
    if folder is None:
        context.log.info("There is no rendition, so no page was written.")
    else:
        page = folder / PAGE_NAME
        replace_file(page, page_html(image_catalog, web_renditions, folder).encode())
        metadata["page"] = dg.MetadataValue.path(str(page))
        metadata["page_url"] = dg.MetadataValue.url(page.as_uri())
    return dg.MaterializeResult(value=report, metadata=metadata)
