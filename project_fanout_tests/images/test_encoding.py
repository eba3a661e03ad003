"""The limits of formats: nothing is called made that nobody can open."""

import io
from pathlib import Path

import pytest
from PIL import Image

from project_fanout.images import encoding
from project_fanout.images.encoding import check_encoding, encoded
from project_fanout.images.pictures import PictureError
from project_fanout.images.settings import MAX_SIDES


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("avif", "AVIF, which ends at 32,768"),
        ("webp", "WebP, which ends at 16,383"),
        ("jpeg", "JPEG, which ends at 65,500"),
    ],
)
def test_the_largest_side_of_a_format_can_be_opened_and_one_pixel_more_is_refused(
    name: encoding.Encoding, said: str, turned: bool
) -> None:
    """With the format's limit in the reason, before any pixel is touched."""
    most = MAX_SIDES[name]
    size = (1, most) if turned else (most, 1)
    check_encoding(name, *size)
    with Image.open(io.BytesIO(encoded(Image.new("L", size), name, 50))) as made:
        made.load()
        assert made.size == size
    too_large = (1, most + 1) if turned else (most + 1, 1)
    side = "tall" if turned else "wide"
    with pytest.raises(
        PictureError, match=f"{too_large[0]} x {too_large[1]} is too {side} for {said} pixels"
    ):
        check_encoding(name, *too_large)


def test_what_an_encoder_writes_and_no_decoder_opens_is_no_rendition() -> None:
    """AVIF above its limit is written without a word: it is opened before it counts."""
    with pytest.raises(PictureError, match="the AVIF of 1 x 32769 pixels that was written cannot be read"):
        encoded(Image.new("L", (1, 32_769)), "avif", 50)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("name", ["avif", "webp", "jpeg", "png"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (17, 9)])
def test_every_small_picture_can_be_opened(
    tmp_path: Path, name: encoding.Encoding, mode: str, size: tuple[int, int]
) -> None:
    """Also the narrowest."""
    colour = {"L": 90, "RGB": (90, 120, 30), "RGBA": (90, 120, 30, 99)}[mode]
    with Image.open(
        io.BytesIO(encoded(Image.new(mode, size, colour), name, None if name == "png" else 80))
    ) as made:
        made.load()
        assert (made.size, made.format) == (size, name.upper())
