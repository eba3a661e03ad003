"""From any kind of pixels to those that every browser shows alike: upright, 8 bits a channel, sRGB."""

import io
import logging
from functools import lru_cache

from PIL import Image, ImageCms

from project_fanout.images.pictures import GREY, LEVELS, TURNED, orientation_of

#: What turns pixels upright, by EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_log = logging.getLogger(__name__)

#: Colour spaces of ICC profiles, and the mode that pixels must have for one.
_MODE_OF_SPACE = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "LAB": "LAB"}


def scaled(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return a loaded *image* upright, *width* x *height* pixels as seen, in mode L, RGB or RGBA, in sRGB.

    Nothing of the file's metadata goes along. What is turned and converted is the small picture:
    that is cheaper, and resampling commutes with both up to rounding.
    """
    profile = image.info.get("icc_profile")
    orientation = orientation_of(image)
    size = (height, width) if orientation in TURNED else (width, height)
    small = eight_bit(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if orientation in _TURNS:
        small = small.transpose(_TURNS[orientation])
    small = to_srgb(small, profile)
    small.info = {}  # Pillow would write a profile, comment or XMP that it finds here
    return small


def scaled_height(width: int, full_width: int, full_height: int) -> int:
    """Return the height that keeps the aspect ratio at *width*, to the nearest pixel, at least 1."""
    return max(1, (2 * full_height * width + full_width) // (2 * full_width))


def eight_bit(image: Image.Image) -> Image.Image:
    """Return *image* with 8 bits a channel, in mode L, LA, RGB, RGBA, CMYK or LAB."""
    key = image.info.get("transparency")
    if image.mode.startswith("I"):
        grey = _from_wide_grey(image)
        return grey if key is None else _with_alpha(grey, _wide(image).point(_opaque_but(key, 65_536), "L"))
    if image.mode in ("LA", "La"):
        return image if image.mode == "LA" else image.convert("LA")
    if image.mode == "RGBA" and image.info.get(GREY):
        # Pillow has no mode for grey of 16 bits with alpha.
        return _with_alpha(image.getchannel("R"), image.getchannel("A"))
    if image.mode in ("1", "L"):
        grey = image.convert("L")
        return grey if key is None else _with_alpha(grey, grey.point(_opaque_but(key, 256)))
    if image.mode in ("PA", "RGBA", "RGBa") or key is not None:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    return image if image.mode in ("RGB", "CMYK", "LAB") else image.convert("RGB")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return *image* (L, LA, RGB, RGBA, CMYK or LAB) in sRGB, as L, RGB or RGBA.

    *profile* is the ICC profile that came with it. Without one, or with one that is damaged or of
    another colour space, RGB and grey are taken as sRGB, as browsers do.
    """
    if image.mode in ("LA", "RGBA"):
        *bands, alpha = image.split()
        colours = to_srgb(bands[0] if len(bands) == 1 else Image.merge("RGB", bands), profile).convert("RGB")
        colours.putalpha(alpha)
        return colours
    if profile:
        try:
            return _through_profile(image, profile)
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            _log.info("The ICC profile is ignored: %s", error)
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def on_white(image: Image.Image) -> Image.Image:
    """Return *image* without alpha, as it looks on a white page."""
    if image.mode != "RGBA":
        return image
    page = Image.new("RGB", image.size, "white")
    page.paste(image, mask=image.getchannel("A"))
    return page


def without_full_alpha(image: Image.Image) -> Image.Image:
    """Return *image* without its alpha channel if every pixel is opaque: the file gets smaller."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    return image


def _wide(image: Image.Image) -> Image.Image:
    return image if image.mode == "I" else image.convert("I")


def _from_wide_grey(image: Image.Image) -> Image.Image:
    """Return a grey picture of more than 8 bits with 8 of them.

    Pillow's own conversion clips at 255, so that it would turn white. What is black and white in it is said by
    `levels`, 0 and 65,535 without.
    """
    return _wide(image).point(_to_eight_bit(*image.info.get(LEVELS, (0, 65_535))), "L")


@lru_cache(maxsize=4)
def _to_eight_bit(black: int, white: int) -> list[int]:
    """Return what each sample of 16 bits becomes."""
    return [min(255, max(0, round(255 * (sample - black) / (white - black)))) for sample in range(65_536)]


def _opaque_but(key: int, samples: int) -> list[int]:
    """Return the alpha of each of so many samples where *key* stands for what is transparent."""
    return [255 * (sample != key) for sample in range(samples)]


def _with_alpha(grey: Image.Image, alpha: Image.Image) -> Image.Image:
    return Image.merge("LA", (grey, alpha))


def _through_profile(image: Image.Image, profile: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = source.profile.xcolor_space.strip().upper()
    if space == "RGB" and image.mode == "L":
        image = image.convert("RGB")
    if _MODE_OF_SPACE.get(space) != image.mode:
        raise ValueError(f"it describes {space}, the pixels are {image.mode}")
    # What the profile is called says nothing: editors name linear ones "sRGB", too.
    if image.mode == "L":
        greys = Image.frombytes("L", (256, 1), bytes(range(256)))
        # By default littleCMS bends dark greys: a linear 5 would be 31, not 38.
        seen = _in_srgb(greys, source, ImageCms.Flags.NOOPTIMIZE).getchannel("G")
        return image.point(list(seen.tobytes()))
    return _in_srgb(image, source)


def _in_srgb(
    image: Image.Image, source: ImageCms.ImageCmsProfile, flags: ImageCms.Flags = ImageCms.Flags.NONE
) -> Image.Image:
    # Perceptual keeps what sRGB cannot show apart instead of clipping it to one flat colour.
    converted = ImageCms.profileToProfile(
        image,
        source,
        ImageCms.createProfile("sRGB"),
        ImageCms.Intent.PERCEPTUAL,
        outputMode="RGB",
        flags=flags,
    )
    if converted is None:
        raise ValueError("the conversion gave no picture")
    return converted
