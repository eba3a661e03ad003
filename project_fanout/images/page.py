"""The page that shows every photograph with the renditions that were made of it."""

import os
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from project_fanout.images.settings import FORMATS, Format

PAGE_NAME = "index.html"


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
    failures = web_renditions[web_renditions["status"] != "succeeded"].to_dict("records")
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


def _photo(file: str, original_bytes: int, made: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """Return what the template says of one photograph: the format to prefer first."""
    by_format = dict(list(made.groupby("format", sort=False)))
    return {
        "title": PurePosixPath(file).stem.replace("_", " ").replace("-", " "),
        "file": file,
        "original_bytes": original_bytes,
        "sources": [_source(name, by_format[name], folder) for name in FORMATS if name in by_format],
    }


def _source(name: Format, made: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """Return the renditions of one photograph in one format, as `<source>` and `<img>` want them."""
    ordered = made.sort_values("width")
    links = [quote(Path(os.path.relpath(path, folder)).as_posix()) for path in ordered["path"]]
    srcset = ", ".join(f"{link} {width}w" for link, width in zip(links, ordered["width"], strict=True))
    return {**ordered.iloc[-1], "type": f"image/{name}", "srcset": srcset, "widest": links[-1]}
