"""The page that shows every photograph, as a browser reads it."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
from PIL import Image

from project_fanout.images.catalog import find_pictures
from project_fanout.images.page import page_folder, page_html, readable_saving, readable_size
from project_fanout.images.photographs import read_photographs
from project_fanout.images.renditions import render
from project_fanout.images.tables import catalog_table, renditions_table
from project_fanout_tests.images.samples import quadrants


class Tags(HTMLParser):
    """Collects the start tags of a page with their attributes."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        """Note a tag."""
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        """Note text."""
        self.text += data

    def all(self, wanted):
        """Return the attributes of each such tag, in order."""
        return [attributes for tag, attributes in self.found if tag == wanted]


def page_of(folder, output, formats=("avif", "webp", "jpeg"), widths=(30, 60)):
    """Render the pictures in *folder*; return catalogue, renditions and the page's folder."""
    catalog = catalog_table(find_pictures(folder).pictures)
    rows = []
    for record in read_photographs(
        catalog, formats=list(formats), widths=list(widths), output_dir=str(output)
    ):
        for unit in record.units:
            row = {"record_key": record.key, "unit_key": unit.key}
            if "problem" in unit.payload:
                rows.append({**row, "status": "failed", "error": unit.payload["problem"]})
            else:
                rows.append({**row, "status": "succeeded", **render(unit, output_dir=str(output))})
    renditions = renditions_table(pd.DataFrame(rows))
    return catalog, renditions, page_folder(renditions)


def test_every_photograph_is_shown_in_every_format_and_width(tmp_path):
    """Each picture offers AVIF, then WebP, and falls back to JPEG; every link leads to such a file."""
    source = tmp_path / "source"
    (source / "day 1").mkdir(parents=True)
    quadrants().save(source / "day 1" / "sea, & sun #1.jpg")
    quadrants(80, 120).save(source / "tower.png")
    catalog, renditions, folder = page_of(source, tmp_path / "out")
    assert folder == tmp_path / "out"
    page = Tags(page_html(catalog, renditions, folder))
    assert len(page.all("picture")) == len(page.all("img")) == 2
    assert [each["type"] for each in page.all("source")] == ["image/avif", "image/webp"] * 2
    expected = {"image/avif": "AVIF", "image/webp": "WEBP", None: "JPEG"}
    linked = set()
    for attributes in page.all("source") + page.all("img"):
        assert attributes["sizes"]
        for candidate in attributes["srcset"].split(", "):
            link, width = candidate.split(" ")
            with Image.open(folder / unquote(link)) as picture:
                assert (picture.format, f"{picture.width}w") == (expected[attributes.get("type")], width)
            linked.add(str(folder / unquote(link)))
    assert linked == set(renditions["path"])
    for attributes in page.all("img"):
        with Image.open(folder / unquote(attributes["src"])) as picture:
            assert (str(picture.width), str(picture.height)) == (attributes["width"], attributes["height"])
        assert attributes["loading"] == "lazy"
    assert [attributes["alt"] for attributes in page.all("img")] == ["sea, & sun #1", "tower"]


def test_every_rendition_has_a_link_with_its_size(tmp_path):
    """Each format in each width can be opened by itself, and says what it weighs."""
    (tmp_path / "source").mkdir()
    quadrants().save(tmp_path / "source" / "photo.png")
    catalog, renditions, folder = page_of(tmp_path / "source", tmp_path / "out", widths=(20, 40, 60))
    page = Tags(page_html(catalog, renditions, folder))
    linked = {str(folder / unquote(each["href"])): each.get("aria-label") for each in page.all("a")}
    names = {"avif": "AVIF", "webp": "WebP", "jpeg": "JPEG"}
    assert linked == {
        row["path"]: f"{names[row['format']]}, {row['width']} pixels wide, {readable_size(row['bytes'])}"
        for row in renditions.to_dict("records")
    }


def test_the_saving_is_said_by_photograph_and_in_total_and_what_is_compared(tmp_path):
    """The widest rendition against the original, for each photograph and format, and for all together."""
    source = tmp_path / "source"
    source.mkdir()
    Image.effect_noise((200, 100), 60).save(source / "large.png")
    quadrants().save(source / "small.png")
    catalog, renditions, folder = page_of(source, tmp_path / "out", formats=["webp"], widths=(20, 60))
    originals = dict(zip(catalog["file"], catalog["bytes"], strict=True))
    widest = {row["record_key"]: row["bytes"] for row in renditions.to_dict("records") if row["width"] == 60}
    page = Tags(page_html(catalog, renditions, folder))
    total = 1 - sum(widest.values()) / sum(originals.values())
    for ratio in (total, *(1 - widest[file] / originals[file] for file in originals)):
        assert readable_saving(ratio) in page.text
    assert "compares the original files with the widest rendition of each photograph" in page.text


def test_a_saving_is_written_as_people_read_it():
    """In whole per cent, more where a rendition is larger than the original, and never all of it."""
    savings = [readable_saving(ratio) for ratio in (0.914, 0.0, -0.12, 0.996)]
    assert savings == ["91% less", "0% less", "12% more", "99.6% less"]


def test_links_are_relative_so_that_the_folder_can_be_moved(tmp_path):
    """The page opens from disk or from a web server, wherever its folder is put."""
    quadrants().save(tmp_path / "photo.png")
    catalog, renditions, folder = page_of(tmp_path, tmp_path.parent / f"{tmp_path.name}-out")
    html = page_html(catalog, renditions, folder)
    assert str(tmp_path.parent) not in html
    assert 'src="photo.png/60.jpg"' in html


def test_without_jpeg_the_last_format_is_the_fallback(tmp_path):
    """Whatever formats are chosen, every photograph has an img."""
    (tmp_path / "source").mkdir()
    quadrants().save(tmp_path / "source" / "photo.png")
    page = Tags(page_html(*page_of(tmp_path / "source", tmp_path / "out", formats=["webp"])))
    assert page.all("source") == []
    assert page.all("img")[0]["src"] == "photo.png/60.webp"


def test_what_is_missing_is_said_on_the_page_and_no_name_is_markup(tmp_path):
    """A picture that could not be rendered is named with its reason; a file name cannot inject HTML."""
    source = tmp_path / "source"
    source.mkdir()
    quadrants().save(source / "good.png")
    (source / "<img src=x onerror=alert(1)>.png").write_bytes(b"")
    page = Tags(page_html(*page_of(source, tmp_path / "out")))
    assert len(page.all("img")) == 1
    assert "<img src=x onerror=alert(1)>.png" in page.text
    assert "the file is empty: 0 bytes" in page.text


def test_without_renditions_there_is_no_folder_for_a_page(tmp_path):
    """Nothing rendered, nothing to show."""
    assert page_of(tmp_path, Path("/nowhere"))[2] is None


def test_sizes_are_written_as_people_read_them():
    """Bytes, then kilobytes and megabytes with one digit while they are small; also what is lost."""
    sizes = (0, 999, 1_000, 23_063, 791_555, 2_139_238, 5_000_000_000, -1_500)
    assert [readable_size(size) for size in sizes] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "23.1 kB",
        "792 kB",
        "2.1 MB",
        "5.0 GB",
        "-1.5 kB",
    ]
