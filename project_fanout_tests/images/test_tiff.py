"""TIFF files of several pages: which one is the picture."""

from pathlib import Path

import numpy as np
import pytest

from project_fanout.images.catalog import find_pictures
from project_fanout_tests.images.containers import icc, tiff
from project_fanout_tests.images.test_colours import shown

Page = tuple[np.ndarray, int, dict[int, int | tuple[int, ...] | bytes]]


def page(width: int, value: int = 90, **tags: int) -> Page:
    """Return a page of grey *value*; *tags* by their number, as `t254=1`."""
    return np.full((width // 2, width, 1), value), 8, {int(name[1:]): tag for name, tag in tags.items()}


PREVIEW, OLD_PREVIEW, MASK = page(12, 10, t254=1), page(12, 10, t255=2), page(60, 10, t254=4)
FULL = page(60)


@pytest.mark.parametrize(
    "pages",
    [
        (PREVIEW, FULL),
        (FULL, PREVIEW),
        (OLD_PREVIEW, FULL),
        (MASK, PREVIEW, FULL, PREVIEW, MASK),
        (page(12, 10, t254=5), page(60, t254=0)),
        (page(60, t254=2), PREVIEW),  # one page of several, says the tag, but the only one
        (page(60, t254=1),),  # a file with nothing but a smaller version of something that is elsewhere
        (*[PREVIEW] * 30, FULL),
    ],
)
def test_the_full_page_is_the_picture_wherever_it_stands(tmp_path: Path, pages: tuple[Page, ...]) -> None:
    """Programs put the preview first as often as last: neither it nor a mask is taken for the photograph."""
    (tmp_path / "scan.tif").write_bytes(tiff(*pages))
    (picture,) = find_pictures(tmp_path).pictures
    assert (picture.problem, picture.width, picture.frames) == (None, 60, len(pages))
    assert shown(tmp_path / "scan.tif").shape == (30, 60, 4)
    assert set(shown(tmp_path / "scan.tif")[..., 0].flat) == {90}


def test_the_profile_of_a_preview_is_not_that_of_the_picture(tmp_path: Path) -> None:
    """A page without a profile is in sRGB, whatever another page has."""
    preview = (*PREVIEW[:2], {254: 1, 34675: icc(b"GRAY", 1.0)})
    (tmp_path / "scan.tif").write_bytes(tiff(preview, FULL))
    assert find_pictures(tmp_path).unreadable == ()
    assert set(shown(tmp_path / "scan.tif")[..., 0].flat) == {90}


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ((FULL, FULL), "TIFF with 2 pages"),
        ((FULL, PREVIEW, FULL, FULL), "TIFF with 3 pages"),
        ((FULL,) * 3000, "TIFF with 100 or more pages"),
        ((FULL, *[PREVIEW] * 3000), "TIFF with 100 or more pages"),
    ],
    ids=["2", "3", "3000", "3000 previews"],
)
def test_a_document_of_several_pages_is_named_without_a_look_at_each(
    tmp_path: Path, pages: tuple[Page, ...], said: str
) -> None:
    """Counting tens of thousands of pages would take minutes, and says nothing more."""
    (tmp_path / "scan.tif").write_bytes(tiff(*pages))
    (picture,) = find_pictures(tmp_path).pictures
    assert said in str(picture.problem)


def test_a_kind_of_tiff_that_is_not_read_is_not_called_no_image(tmp_path: Path) -> None:
    """Ten bits a sample cannot be read: the reason says what could."""
    (tmp_path / "scan.tif").write_bytes(tiff((np.full((4, 4, 1), 900), 10, {})))
    (picture,) = find_pictures(tmp_path).pictures
    assert "TIFF, or one of a kind that is not read; save it anew, with 8 or 16 bits" in str(picture.problem)
