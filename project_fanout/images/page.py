"""The page that shows every photograph with the renditions that were made of it."""

import os
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from project_fanout.images.settings import FORMATS, Format
from project_fanout.images.tables import report_table, saving_by_format

PAGE_NAME = "index.html"

_NAMES: dict[Format, str] = {"avif": "AVIF", "webp": "WebP", "jpeg": "JPEG"}


def page_folder(web_renditions: pd.DataFrame) -> Path | None:
    """Return the folder that holds the renditions, None if there are none."""
    made = web_renditions.loc[web_renditions["status"] == "succeeded", "path"]
    return None if made.empty else Path(made.iloc[0]).parents[1]


def page_html(image_catalog: pd.DataFrame, web_renditions: pd.DataFrame, folder: Path) -> str:
    """Return the page as HTML, to be kept in *folder*; its links are relative, so the folder can be moved."""
    made = web_renditions[web_renditions["status"] == "succeeded"]
    report = report_table(image_catalog, web_renditions)
    originals = {row["file"]: row for row in image_catalog.to_dict("records")}
    savings = dict(list(report.groupby("file", sort=False)))
    photos = [
        _photo(str(file), originals[file], group, savings[file], folder)
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
    environment.filters |= {"size": readable_size, "saving": readable_saving, "format": _NAMES.__getitem__}
    return environment.get_template("photographs.html").render(
        photos=photos,
        failures=failures,
        totals=_in_order(saving_by_format(report)),
        renditions=len(made),
        total=int(made["bytes"].sum()),
    )


def readable_size(number: float) -> str:
    """Return a number of bytes as people read it, e.g. "1.2 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(number) < 1000 or unit == "GB":
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" or abs(number) >= 100 else f"{number:.1f} {unit}"


def readable_saving(ratio: float) -> str:
    """Return what is saved as people read it, of a share of the original: "91% less" or, below 0, "12% more"."""
    less = "less" if ratio >= 0 else "more"
    # Nothing that has a size is 100 % smaller.
    return f"{abs(ratio):.{1 if 0.99 < ratio < 1 else 0}%} {less}"


def _photo(
    file: str, original: dict[Any, Any], made: pd.DataFrame, report: pd.DataFrame, folder: Path
) -> dict[str, Any]:
    """Return what the template says of one photograph: the format to prefer first."""
    by_format = dict(list(made.groupby("format", sort=False)))
    return {
        "title": PurePosixPath(file).stem.replace("_", " ").replace("-", " "),
        "file": file,
        "original": original,
        "renditions": len(made),
        "sources": [_source(name, by_format[name], folder) for name in FORMATS if name in by_format],
        "savings": {row["format"]: row["saved_ratio"] for row in report.to_dict("records")},
        "sizes": _sizes(made, folder),
    }


def _source(name: Format, made: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """Return the renditions of one photograph in one format, as `<source>` and `<img>` want them."""
    ordered = made.sort_values("width")
    links = [_link(path, folder) for path in ordered["path"]]
    srcset = ", ".join(f"{link} {width}w" for link, width in zip(links, ordered["width"], strict=True))
    return {**ordered.iloc[-1], "type": f"image/{name}", "srcset": srcset, "widest": links[-1]}


def _sizes(made: pd.DataFrame, folder: Path) -> list[dict[str, Any]]:
    """Return the renditions of one photograph by width, the widest first, each with link and bytes by format."""
    return [
        {
            "width": width,
            "height": same["height"].iloc[0],
            "files": {
                row["format"]: {"link": _link(row["path"], folder), "bytes": row["bytes"]}
                for row in same.to_dict("records")
            },
        }
        for width, same in sorted(made.groupby("width"), reverse=True, key=itemgetter(0))
    ]


def _in_order(by_format: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return the rows, the format to prefer first."""
    return sorted(by_format.to_dict("records"), key=lambda row: FORMATS.index(row["format"]))


def _link(path: str, folder: Path) -> str:
    return quote(Path(os.path.relpath(path, folder)).as_posix())
