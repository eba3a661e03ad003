"""The small pictures among the metadata of a fan-out over photographs."""

import base64
import io
import re

import pandas as pd
from PIL import Image

from project_fanout.images.contact_sheet import contact_sheet
from project_fanout_tests.images.samples import BLUE, GREEN, RED, WHITE, alike, quadrants, quarter_colours


def rows(folder, *names, size=(120, 80)):
    """Write a rendition for each name, and return their table."""
    folder.mkdir(exist_ok=True)
    table = []
    for n, name in enumerate(names):
        path = folder / f"{n}.webp"
        quadrants(*size).save(path, quality=95)
        row = {"record_key": name, "status": "succeeded", "path": str(path), "format": "webp"}
        table.append({**row, "width": size[0], "height": size[1]})
    return pd.DataFrame(table, columns=["record_key", "status", "path", "format", "width", "height"])


def pictures(sheet):
    """Return the pictures of a sheet."""
    found = re.findall(r"!\[\]\(data:image/jpeg;base64,([^)]+)\)", sheet)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]


def test_each_photograph_is_shown_small_above_its_name(tmp_path):
    """The pictures are 96 pixels at most, look as the photographs do, and each has its name below."""
    sheet = contact_sheet(rows(tmp_path / "out", "one.png", "two.png"))
    for picture in pictures(sheet):
        assert (picture.format, picture.size) == ("JPEG", (96, 64))
        assert all(map(alike, quarter_colours(picture), (RED, GREEN, BLUE, WHITE)))
    *_, names, _, caption = sheet.splitlines()
    assert names == "| one.png | two.png |"
    assert caption == "2 of 2 photographs, in the order of the catalogue."


def test_of_many_photographs_the_first_are_shown_and_it_says_so(tmp_path):
    """Twelve of forty, in rows of four, and nowhere near the size at which pages load slowly."""
    sheet = contact_sheet(rows(tmp_path / "out", *(f"{n}.png" for n in range(40))))
    assert len(pictures(sheet)) == 12
    assert "12 of 40 photographs" in sheet
    assert "| 8.png | 9.png | 10.png | 11.png |" in sheet
    assert {line.count(" | ") for line in sheet.splitlines() if line.startswith("|")} == {3}


def test_a_sheet_stays_small_whatever_is_on_the_photographs(tmp_path):
    """Twelve pictures of noise, which compress badly, are below 100 kB."""
    table = rows(tmp_path / "out", *(f"{n}.png" for n in range(12)))
    for path in table["path"]:
        Image.effect_noise((400, 400), 120).convert("RGB").save(path, quality=100)
    assert len(contact_sheet(table)) < 110_000


def test_what_is_not_there_is_left_out(tmp_path):
    """A file that was deleted meanwhile, and a rendition that failed, cost their place and nothing else."""
    table = rows(tmp_path / "out", "one.png", "two.png", "three.png")
    (tmp_path / "out" / "0.webp").unlink()
    table.loc[1, ["status", "path"]] = ["failed", None]
    sheet = contact_sheet(table)
    assert len(pictures(sheet)) == 1
    assert "1 of 2 photographs" in sheet
    assert contact_sheet(table[:0]) == "none"


def test_a_name_is_shown_as_it_is(tmp_path):
    """Neither does a name break the table, nor is it taken for Markdown or HTML; of a long one the end is shown."""
    sheet = contact_sheet(
        rows(tmp_path / "out", "a|b_c*.png", "<b>x.png", "holiday/2026/" + "x" * 30 + ".png")
    )
    names = sheet.splitlines()[-3]
    assert names == rf"| a\|b\_c\*.png | \<b\>x.png | …{'x' * 19}.png |"
