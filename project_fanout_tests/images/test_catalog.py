"""Finding pictures in a folder and saying what is wrong with those that cannot be rendered."""

import os
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from project_fanout.images.catalog import find_pictures, shipped_photos
from project_fanout.images.photographs import read_photographs
from project_fanout.images.pictures import PictureError
from project_fanout.images.tables import catalog_table
from project_fanout_tests.images.samples import bad_pictures, bomb, quadrants, with_orientation


def test_without_a_folder_the_five_shipped_photographs_are_found():
    """A fresh installation has something to work on, and the notice beside it is not taken for a picture."""
    catalog = find_pictures()
    assert [(picture.file, picture.width, picture.height) for picture in catalog.pictures] == [
        ("astronaut.png", 512, 512),
        ("chelsea.png", 451, 300),
        ("coffee.png", 600, 400),
        ("hubble_deep_field.jpg", 1000, 872),
        ("rocket.jpg", 640, 427),
    ]
    assert catalog.unreadable == ()
    assert "LICENSES.md" in catalog.ignored
    assert all(picture.bytes == Path(picture.path).stat().st_size for picture in catalog.pictures)


def test_each_bad_picture_is_named_with_its_reason_and_the_good_ones_are_read(tmp_path):
    """Zero bytes, truncated, text, bomb, unreadable, animated, several pages: named; the rest go on."""
    quadrants().save(tmp_path / "good.jpg")
    quadrants().save(tmp_path / "good.png")
    reasons = bad_pictures(tmp_path)
    catalog = find_pictures(tmp_path)
    assert [picture.file for picture in catalog.readable] == ["good.jpg", "good.png"]
    assert {picture.file for picture in catalog.unreadable} == set(reasons)
    for picture in catalog.unreadable:
        assert reasons[picture.file] in str(picture.problem), picture


def test_a_file_without_permission_is_named():
    """A picture that this user may not read is listed as such."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        quadrants().save(folder / "mine.png")
        quadrants().save(folder / "secret.png")
        (folder / "secret.png").chmod(0)
        (folder / "closed").mkdir(mode=0)
        root = os.geteuid() == 0
        if root:  # root may read everything, so somebody else has to look
            os.seteuid(65534)
        try:
            catalog = find_pictures(folder)
        finally:
            if root:
                os.seteuid(0)
            (folder / "closed").chmod(0o700)
    assert [picture.file for picture in catalog.readable] == ["mine.png"]
    assert {picture.file: picture.problem for picture in catalog.unreadable} == {
        "secret.png": "cannot be read: Permission denied",
        "closed": "this folder cannot be listed: Permission denied",
    }


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_width_and_height_are_those_that_people_see(tmp_path, orientation, suffix):
    """A photograph taken upright is listed as upright, however its pixels are stored."""
    with_orientation(tmp_path / f"photo.{suffix}", orientation)
    (picture,) = find_pictures(tmp_path).pictures
    assert (picture.problem, picture.width, picture.height) == (None, 120, 80)


def test_folders_below_are_searched_and_hidden_files_are_not(tmp_path):
    """Photographs sorted into folders are found under their path; what the system hides is not."""
    (tmp_path / "paris" / "day 1").mkdir(parents=True)
    (tmp_path / ".trash").mkdir()
    for file in ("paris/day 1/tower.jpg", "tower.jpg", ".trash/old.jpg", "._tower.jpg"):
        quadrants().save(tmp_path / file)
    (tmp_path / "notes.txt").write_text("x")
    catalog = find_pictures(tmp_path)
    assert [picture.file for picture in catalog.pictures] == ["paris/day 1/tower.jpg", "tower.jpg"]
    assert catalog.ignored == ("notes.txt",)


def test_links_to_folders_are_followed_and_a_circle_ends(tmp_path):
    """A linked album is searched; a link to a folder above does not run for ever."""
    album = tmp_path / "elsewhere"
    album.mkdir()
    quadrants().save(album / "sea.png")
    source = tmp_path / "source"
    source.mkdir()
    (source / "album").symlink_to(album)
    (source / "circle").symlink_to(source)
    assert [picture.file for picture in find_pictures(source).pictures] == ["album/sea.png"]


def test_a_name_that_is_not_text_is_named(tmp_path):
    """A file name in an old encoding cannot be a key: it is listed in a form of its own, with the remedy."""
    for name in (b"caf\xe9.png", b"caf\\xe9.png", b"caf\\xe9\xe9.png", b"caf\xe9\\xe9.png"):
        quadrants().save(tmp_path / "photo.png")
        (tmp_path / "photo.png").rename(tmp_path / os.fsdecode(name))
    catalog = find_pictures(tmp_path)
    assert [picture.file for picture in catalog.readable] == ["caf\\xe9.png"]
    assert [picture.file for picture in catalog.unreadable] == [
        "./caf\\\\xe9\\xe9.png",
        "./caf\\xe9.png",
        "./caf\\xe9\\\\xe9.png",
    ]
    assert {picture.problem for picture in catalog.unreadable} == {"its name is not UTF-8 text; rename it"}
    records = list(read_photographs(catalog_table(catalog.pictures), output_dir=f"{tmp_path}.web"))
    assert len({record.key for record in records}) == 4


def test_the_pixel_limit_can_be_set(tmp_path):
    """A picture above the limit is refused with its size and the limit; at the limit it is read."""
    Image.new("L", (100, 100)).save(tmp_path / "photo.png")
    assert find_pictures(tmp_path, max_pixels=10_000).unreadable == ()
    (refused,) = find_pictures(tmp_path, max_pixels=9_999).unreadable
    assert "100 x 100 is 10,000 pixels, more than max_pixels, 9,999" in str(refused.problem)


def test_a_bomb_below_pillows_own_limit_is_refused_unread(tmp_path):
    """A file that claims a hundred megapixels is refused by its header."""
    bomb(tmp_path / "bomb.png", side=10_000)
    (refused,) = find_pictures(tmp_path).unreadable
    assert "decompression bomb" in str(refused.problem)


def test_what_phones_write_is_one_photograph(tmp_path):
    """A JPEG followed by previews or depth maps, as phones write it, is the photograph in front."""
    quadrants().save(
        tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[Image.new("RGB", (12, 8))]
    )
    (picture,) = find_pictures(tmp_path).pictures
    assert (picture.problem, picture.format, picture.width, picture.frames) == (None, "MPO", 120, 2)


def test_a_tiff_with_a_preview_is_one_photograph(tmp_path):
    """A reduced version within a TIFF is no second page."""
    preview = Image.new("RGB", (12, 8))
    preview.encoderinfo = {"tiffinfo": {254: 1}}
    quadrants().save(tmp_path / "scan.tiff", save_all=True, append_images=[preview])
    (picture,) = find_pictures(tmp_path).pictures
    assert (picture.problem, picture.width, picture.frames) == (None, 120, 2)


def test_an_empty_folder_has_no_pictures(tmp_path):
    """An empty folder is not an error."""
    assert find_pictures(tmp_path).pictures == ()


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    """A wrong source_dir is refused with the value and the path it stands for."""
    with pytest.raises(
        PictureError,
        match=r"source_dir is '.*/nowhere': /.*/nowhere cannot be listed: No such file or directory\. Give the folder",
    ):
        find_pictures(str(tmp_path / "nowhere"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(PictureError, match="cannot be listed: Not a directory"):
        find_pictures(tmp_path / "file")


def test_the_shipped_photographs_come_with_their_terms():
    """What is passed on says under which terms."""
    terms = (shipped_photos() / "LICENSES.md").read_text()
    assert all(picture.file in terms for picture in find_pictures().pictures)
