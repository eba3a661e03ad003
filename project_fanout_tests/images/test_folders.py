"""Folders of real people: what is a photograph in them, what is not, and what is said of the rest."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from project_fanout.images.assets import image_catalog
from project_fanout.images.catalog import find_pictures
from project_fanout.images.folders import READ_SUFFIXES, SYSTEM_FOLDERS, UNREAD_SUFFIXES, matches
from project_fanout.images.pictures import ACCEPTED
from project_fanout.images.sensor import FOLDER_VARIABLE, new_photographs
from project_fanout_tests.images.samples import quadrants


def fill(folder: Path, files: Iterable[str]) -> None:
    """Put files in *folder*: photographs where the name says so, else something of no use."""
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".jpg", ".png"):
            quadrants().save(path)
        else:
            path.write_bytes(b"\0\1something else")


def found(folder: Path, **options) -> tuple[list[str], list[str]]:
    """Return the photographs that are read, and those with a problem."""
    catalog = find_pictures(folder, **options)
    return [each.file for each in catalog.readable], [each.file for each in catalog.unreadable]


NAS = [
    "IMG_1.jpg",
    "@eaDir/IMG_1.jpg/SYNOPHOTO_THUMB_M.jpg",
    "2024/@eaDir/b.jpg/SYNOPHOTO_THUMB_M.jpg",
    "2024/b.jpg",
    "#recycle/old.jpg",
    "$RECYCLE.BIN/S-1-5/old.jpg",
    "System Volume Information/x.jpg",
    "__MACOSX/._IMG_1.jpg",
    ".DS_Store",
    "2024/.DS_Store",
    "._IMG_1.jpg",
    "Thumbs.db",
    "2024/Thumbs.db",
    "desktop.ini",
    "movie.MOV",
]


def test_a_share_of_a_nas_has_its_photographs_and_no_others(tmp_path: Path) -> None:
    """Thumbnails, waste bins and what systems note beside photographs are none, and no failure."""
    fill(tmp_path, NAS)
    assert found(tmp_path) == (["2024/b.jpg", "IMG_1.jpg"], [])


def test_what_is_left_out_is_counted_by_the_end_of_its_name(tmp_path: Path) -> None:
    """Nothing vanishes without a word."""
    fill(tmp_path, [*NAS, "IMG_1.CR2"])
    catalog = find_pictures(tmp_path, exclude=["2024"])
    counted = {(suffix, why): count for why, suffix, count in catalog.left_out_by_suffix}
    assert counted == {
        (".db", "not a picture's name"): 1,
        (".ini", "not a picture's name"): 1,
        (".mov", "not a picture's name"): 1,
        (".jpg", "excluded"): 1,
        (".db", "excluded"): 1,
        (".DS_Store", "hidden"): 2,
        (".jpg", "hidden"): 1,
        (".cr2", "beside a picture of the same name that is read"): 1,
        ("@eaDir", "system folder"): 2,
        ("#recycle", "system folder"): 1,
        ("$RECYCLE.BIN", "system folder"): 1,
        ("System Volume Information", "system folder"): 1,
        ("__MACOSX", "system folder"): 1,
    }


def test_every_system_folder_is_passed_over_at_any_depth_and_in_any_capitals(tmp_path: Path) -> None:
    """As it is on file systems that ignore capitals."""
    for name in SYSTEM_FOLDERS:
        fill(tmp_path, [f"{name}/a.jpg", f"deep/{name.upper()}/b.jpg/c.jpg"])
    assert found(tmp_path) == ([], [])


@pytest.mark.parametrize("suffix", sorted(UNREAD_SUFFIXES))
def test_a_camera_file_beside_its_jpeg_is_left_out_and_alone_it_is_named(tmp_path: Path, suffix: str) -> None:
    """The JPEG is the photograph; where there is none, what to do about it stands in the reason."""
    fill(tmp_path, ["IMG_1.jpg", f"img_1{suffix.upper()}", f"IMG_2{suffix}", f"other/IMG_1{suffix}"])
    readable, unreadable = found(tmp_path)
    assert (readable, unreadable) == (["IMG_1.jpg"], [f"IMG_2{suffix}", f"other/IMG_1{suffix}"])
    (first, _) = find_pictures(tmp_path).unreadable
    assert f"{suffix} files are not read" in str(first.problem)
    assert f'exclude: ["*{suffix}"]' in str(first.problem)
    assert found(tmp_path, exclude=[f"*{suffix}"]) == (["IMG_1.jpg"], [])


def test_every_name_that_the_decoders_know_is_read() -> None:
    """None of them vanishes for its name, whichever Pillow is installed."""
    Image.init()
    known = {suffix for suffix, name in Image.registered_extensions().items() if name in (*ACCEPTED, "MPO")}
    assert known <= READ_SUFFIXES
    assert not READ_SUFFIXES & UNREAD_SUFFIXES


@pytest.mark.parametrize(
    ("suffix", "name"),
    [
        ("dib", "DIB"),
        ("bmp", "BMP"),
        ("mpo", "MPO"),
        ("j2c", "JPEG2000"),
        ("jpc", "JPEG2000"),
        ("jfif", "JPEG"),
    ],
)
def test_what_is_listed_can_be_read(tmp_path: Path, suffix: str, name: str) -> None:
    """A bitmap without a file header, what phones and scanners write: each is a photograph."""
    path, options = tmp_path / f"a.{suffix}", {}
    if suffix in ("j2c", "jpc"):
        options = {"no_jp2": True}
    if name == "MPO":
        options = {"save_all": True, "append_images": [Image.new("RGB", (12, 8))]}
    quadrants().save(path, name, **options)
    (picture,) = find_pictures(tmp_path).pictures
    assert (picture.problem, picture.width) == (None, 120)


@pytest.mark.parametrize(
    ("pattern", "file", "is_left_out"),
    [
        ("*.heic", "a/b/IMG.HEIC", True),
        ("*.heic", "a/b/IMG.jpg", False),
        ("raw", "a/raw/b.jpg", True),
        ("raw", "raw/c/b.jpg", True),
        ("raw", "a/rawest/b.jpg", False),
        ("raw/", "raw/b.jpg", True),
        ("@eaDir/**", "@eaDir/a.jpg/b.jpg", True),
        ("@eaDir/**", "x/@eaDir/b.jpg", False),
        ("**/@eaDir/**", "x/@eaDir/b.jpg", True),
        ("**/@eaDir/**", "@eaDir/b.jpg", True),
        ("2024/*.jpg", "2024/a.jpg", True),
        ("2024/*.jpg", "2024/b/a.jpg", False),
        ("2024/**/*.jpg", "2024/b/c/a.jpg", True),
        ("2024/**/*.jpg", "2024/a.jpg", True),
        ("/top.jpg", "top.jpg", True),
        ("/top.jpg", "a/top.jpg", False),
        ("./top.jpg", "top.jpg", True),
        ("IMG_[0-4]*", "IMG_31.jpg", True),
        ("IMG_[0-4]*", "IMG_51.jpg", False),
        ("IMG_?.jpg", "IMG_5.jpg", True),
        ("**", "a.jpg", True),
    ],
)
def test_a_pattern_is_for_a_name_or_for_a_path(pattern: str, file: str, is_left_out: bool) -> None:
    """As people know it of .gitignore."""
    assert matches(pattern, file) is is_left_out


NAMES = st.text("abAB.1 ()", min_size=1, max_size=6).filter(lambda name: name.strip(".") != "")


@given(st.lists(NAMES, min_size=1, max_size=4), st.data())
@example(["a b", "(1)"], None)
def test_each_folder_and_file_can_be_excluded_by_its_own_path(
    parts: list[str], data: st.DataObject | None
) -> None:
    """Whatever it is called, and with everything that is in it."""
    depth = 1 if data is None else data.draw(st.integers(1, len(parts)))
    key = "/".join(parts)
    assert matches("/" + "/".join(parts[:depth]), key)
    assert matches(parts[depth - 1], key)
    assert not matches(f"/{key}/more", key)


class Catalogued:
    """A run of the catalogue over a folder."""

    def __init__(self, folder: Path, **config) -> None:
        self.result = dg.materialize(
            [image_catalog],
            resources={"warehouse": dg.mem_io_manager},
            run_config={"ops": {"image_catalog": {"config": {"source_dir": str(folder), **config}}}},
        )
        self.table = self.result.output_for_node("image_catalog", "result")
        (event,) = self.result.asset_materializations_for_node("image_catalog")
        self.metadata = {name: value.value for name, value in event.metadata.items()}


def test_the_run_says_what_it_left_out(tmp_path: Path) -> None:
    """In the metadata, as a table."""
    fill(tmp_path, ["a.jpg", "b.heic", "c.heic", "Thumbs.db"])
    made = Catalogued(tmp_path, exclude=["*.HEIC"])
    assert made.table["file"].tolist() == ["a.jpg"]
    assert "| excluded | .heic | 2 |" in made.metadata["left_out"]
    assert "| not a picture's name | .db | 1 |" in made.metadata["left_out"]
    assert made.metadata["ignored_files"] == "Thumbs.db, b.heic, c.heic"


def test_a_pattern_that_is_for_nothing_is_known(tmp_path: Path) -> None:
    """A typing mistake leaves nothing out, and the log names it."""
    fill(tmp_path, ["a.jpg", "b.heic"])
    assert find_pictures(tmp_path, exclude=["*.heic", "*.hiec", "/"]).unmatched == ("*.hiec", "/")


def test_an_empty_pattern_is_refused_by_the_launchpad(tmp_path: Path) -> None:
    """Before anything is read."""
    with pytest.raises(ValidationError, match="at least 1 character"):
        Catalogued(tmp_path, exclude=[""])


def test_the_sensor_passes_over_what_the_catalogue_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thumbnail that the NAS makes is no reason for a run."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    fill(tmp_path, ["a.jpg"])
    first = new_photographs(dg.build_sensor_context())
    second = new_photographs(dg.build_sensor_context(cursor=first.cursor))
    assert len(second.run_requests) == 1
    fill(tmp_path, ["@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", ".DS_Store", "Thumbs.db"])
    for _ in range(2):
        third = new_photographs(dg.build_sensor_context(cursor=second.cursor))
        assert "Nothing has changed" in str(third.skip_reason)
    shutil.rmtree(tmp_path / "@eaDir")
