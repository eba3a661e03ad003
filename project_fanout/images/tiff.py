"""TIFF files: which of their pages is the picture, and which sample is black."""

from contextlib import suppress

from PIL import TiffImagePlugin
from PIL.TiffImagePlugin import II, MM, OPEN_INFO, TiffImageFile

#: More pages than any picture has smaller versions; each costs the more the more there are.
MOST_PAGES = 100

_NEW_SUBFILE_TYPE, _OLD_SUBFILE_TYPE, _PHOTOMETRIC = 254, 255, 262
_REDUCED, _MASK = 1, 4  # bits of the first of them
_OLD_REDUCED = 2
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1

# Layouts of grey that Pillow can unpack and does not know as such; the samples are set right by `levels_of`. Twelve
# bits are packed alike in both byte orders.
for _order, _wide in ((II, "I;16"), (MM, "I;16B")):
    OPEN_INFO.setdefault((_order, _WHITE_IS_ZERO, (1,), 1, (16,), ()), (_wide, _wide))
    for _photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO):
        OPEN_INFO.setdefault((_order, _photometric, (1,), 1, (12,), ()), ("I;16", "I;12"))


def turn_to_picture(image: TiffImageFile) -> tuple[int, int]:
    """Have *image* show its first page that is neither a smaller version of another one nor a mask.

    Returns how many such pages there are, at least 1, and how many pages in all; of both at most `MOST_PAGES`.
    """
    full: list[int] = []
    pages = 0
    while pages < MOST_PAGES:
        try:
            # What Pillow cannot make out of a page's pixels is of no interest as long as its tags can be read.
            with suppress(SyntaxError):
                image.seek(pages)
        except EOFError:
            break
        if _is_full(image):
            full.append(pages)
        pages += 1
    image.seek(full[0] if full else 0)
    if TiffImagePlugin.ICCPROFILE not in image.tag_v2:
        image.info.pop("icc_profile", None)  # of a page that Pillow has shown before
    return max(1, len(full)), pages


def levels_of(image: TiffImageFile) -> tuple[int, int]:
    """Return the samples that are black and white in a grey picture of more than 8 bits."""
    (bits, *_) = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (16,))
    most = (1 << bits) - 1
    return (most, 0) if image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else (0, most)


def _is_full(image: TiffImageFile) -> bool:
    tags = image.tag_v2
    return (
        not tags.get(_NEW_SUBFILE_TYPE, 0) & (_REDUCED | _MASK)
        and tags.get(_OLD_SUBFILE_TYPE) != _OLD_REDUCED
    )
