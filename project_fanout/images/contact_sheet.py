"""Small pictures of the first photographs, as text that the web UI shows without a file."""

import base64
import re
from collections.abc import Sequence
from itertools import islice

import pandas as pd

from project_fanout.images.encoding import encoded
from project_fanout.images.pictures import PictureError, load_reduced, opened

#: How many photographs are shown, how many beside each other, and how large: pixels of the longer side.
SHOWN, BESIDE, SIDE = 12, 4, 96
_QUALITY = 60
_LONGEST_NAME = 24
#: Bytes of all pictures together; what is stored with a materialization is loaded by every page that lists it.
_MOST_BYTES = 100_000


def contact_sheet(renditions: pd.DataFrame) -> str:
    """Return a Markdown table with the first 12 photographs, and a line that says which they are of how many.

    Each is made of its smallest rendition on the disk that is large enough; one that is not there is left out.
    At most 100 kB; without any rendition the text is "none".
    """
    made = renditions[renditions["status"] == "succeeded"]
    by_photograph = [(str(file), group) for file, group in made.groupby("record_key", sort=False)]
    pictures: list[tuple[str, str]] = []
    left = _MOST_BYTES
    for file, group in islice(by_photograph, SHOWN):
        picture = _data_uri(_smallest(group))
        if picture is not None and len(picture) <= left:
            left -= len(picture)
            pictures.append((file, picture))
    if not pictures:
        return "none"
    shown = f"{len(pictures)} of {len(by_photograph)} photographs, in the order of the catalogue."
    return f"{_grid(pictures)}\n\n{shown}"


def _smallest(group: pd.DataFrame) -> str:
    """Return the path of the smallest rendition that need not be enlarged, of the largest where all are smaller."""
    by_width = group.sort_values("width", kind="stable")
    enough = by_width[by_width[["width", "height"]].max(axis=1) >= SIDE]
    return str((enough.iloc[0] if len(enough) else by_width.iloc[-1])["path"])


def _data_uri(path: str) -> str | None:
    try:
        with opened(path) as image:
            load_reduced(image, SIDE)
            image.thumbnail((SIDE, SIDE))
            content = encoded(image, "jpeg", _QUALITY)
    except (PictureError, OSError):
        return None  # the check of the files says so
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def _grid(pictures: Sequence[tuple[str, str]]) -> str:
    columns = min(BESIDE, len(pictures))
    lines = []
    for start in range(0, len(pictures), columns):
        row = pictures[start : start + columns]
        blank = [""] * (columns - len(row))
        lines.append([*(f"![]({picture})" for _, picture in row), *blank])
        if not start:
            lines.append(["---"] * columns)
        lines.append([*(_plain(file) for file, _ in row), *blank])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(file: str) -> str:
    """Return a file's name as Markdown that shows it as it is; of a long one the end, which tells it from others."""
    short = file if len(file) <= _LONGEST_NAME else f"…{file[1 - _LONGEST_NAME :]}"
    return re.sub(r"([^\w\s.…/-]|_)", r"\\\1", " ".join(short.split()))
