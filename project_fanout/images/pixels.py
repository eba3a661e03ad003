"""From any kind of pixels to those that every browser shows alike: upright, 8 bits a channel, sRGB."""

import io
import logging

from PIL import Image, ImageCms

from project_fanout.images.pictures import TURNED, orientation_of

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
    """Return *image* with 8 bits a channel, in mode L, RGB, RGBA, CMYK or LAB."""
    if image.mode.startswith("I"):
        # Pillow's own conversion to 8 bits clips at 255: a 16-bit picture would turn white.
        wide = image if image.mode == "I" else image.convert("I")
        return wide.point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return *image* (L, RGB, RGBA, CMYK or LAB) in sRGB, as L, RGB or RGBA.

    *profile* is the ICC profile that came with it. Without one, or with one that is damaged or of
    another colour space, RGB and grey are taken as sRGB, as browsers do.
    """
    if image.mode == "RGBA":
        colours = to_srgb(image.convert("RGB"), profile)
        colours = colours.convert("RGB")
        colours.putalpha(image.getchannel("A"))
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


def _through_profile(image: Image.Image, profile: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = source.profile.xcolor_space.strip().upper()
    if _MODE_OF_SPACE.get(space) != image.mode:
        raise ValueError(f"it describes {space}, the pixels are {image.mode}")
    if "sRGB" in ImageCms.getProfileDescription(source):
        return image
    # Perceptual keeps what sRGB cannot show apart instead of clipping it to one flat colour.
    converted = ImageCms.profileToProfile(
        image, source, ImageCms.createProfile("sRGB"), ImageCms.Intent.PERCEPTUAL, outputMode="RGB"
    )
    if converted is None:
        raise ValueError("the conversion gave no picture")
    return converted
