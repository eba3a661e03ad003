"""The page that shows every photograph with the renditions that were made of it."""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from project_fanout.images.settings import FORMATS, Format

PAGE_NAME = "index.html"


@dataclass(frozen=True, slots=True)
class Source:
    """The renditions of one photograph in one format, as `<source>` or `<img>` want them."""

    type: str
    srcset: str
    widest: str
    width: int
    height: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Photo:
    """One photograph: its sources, the one to prefer first, and the `<img>` that every browser knows."""

    title: str
    file: str
    original_bytes: int
    sources: list[Source]
    fallback: Source


@dataclass(frozen=True, slots=True)
class Failure:
    """A rendition that is missing on the page."""

    file: str
    rendition: str
    error: str


def page_folder(web_renditions: pd.DataFrame) -> Path | None:
    """Return the folder that holds the renditions, None if there are none."""
    made = web_renditions.loc[web_renditions["status"] == "succeeded", "path"]
    return None if made.empty else Path(made.iloc[0]).parents[1]


def page_html(image_catalog: pd.DataFrame, web_renditions: pd.DataFrame, folder: Path) -> str:
    """Return the page as HTML, to be kept in *folder*; its links are relative, so the folder can be moved."""
    made = web_renditions[web_renditions["status"] == "succeeded"]
    sizes = dict(zip(image_catalog["file"], image_catalog["bytes"], strict=True))
    photos = [
        _photo(str(file), int(sizes[file]), group, folder)
        for file, group in made.groupby("record_key", sort=False)
    ]
    failures = [
        Failure(row["record_key"], row["unit_key"], row["error"])
        for row in web_renditions[web_renditions["status"] != "succeeded"].to_dict("records")
    ]
    environment = Environment(
        loader=PackageLoader("project_fanout.images"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["size"] = readable_size
    return environment.get_template("photographs.html").render(
        photos=photos, failures=failures, renditions=len(made), total=int(made["bytes"].sum())
    )


def readable_size(number: float) -> str:
    """Return a number of bytes as people read it, e.g. "1.2 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(number) < 1000 or unit == "GB":
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" or abs(number) >= 100 else f"{number:.1f} {unit}"


def _photo(file: str, original_bytes: int, made: pd.DataFrame, folder: Path) -> Photo:
    by_format = dict(list(made.groupby("format", sort=False)))
    sources = [_source(name, by_format[name], folder) for name in FORMATS if name in by_format]
    return Photo(
        title=PurePosixPath(file).stem.replace("_", " ").replace("-", " "),
        file=file,
        original_bytes=original_bytes,
        sources=sources[:-1],
        fallback=sources[-1],
    )


def _source(name: Format, made: pd.DataFrame, folder: Path) -> Source:
    rows = made.sort_values("width").to_dict("records")
    links = [quote(Path(os.path.relpath(row["path"], folder)).as_posix()) for row in rows]
    return Source(
        type=f"image/{name}",
        srcset=", ".join(f"{link} {int(row['width'])}w" for link, row in zip(links, rows, strict=True)),
        widest=links[-1],
        width=int(rows[-1]["width"]),
        height=int(rows[-1]["height"]),
        bytes=int(rows[-1]["bytes"]),
    )
