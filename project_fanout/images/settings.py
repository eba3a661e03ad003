"""What a rendition may be: formats, widths, quality, and where the files go."""

from typing import Annotated, Literal, get_args

from annotated_types import Ge, Le, MinLen

Format = Literal["avif", "webp", "jpeg"]
#: In the order in which a browser should prefer them.
FORMATS: list[Format] = list(get_args(Format))

#: From a thumbnail to a full-width picture on a high-density laptop. With the photograph's own width
#: added where it is narrower, a photograph of 450 to 1,920 pixels gets 12 to 30 renditions.
DEFAULT_WIDTHS: list[int] = [160, 240, 320, 480, 640, 800, 960, 1280, 1600, 1920]

#: Each encoder has its own scale; these look alike at normal viewing distance.
DEFAULT_QUALITY: dict[Format, int] = {"avif": 60, "webp": 80, "jpeg": 82}

DEFAULT_OUTPUT_DIR = "output/renditions"

#: Most pixels in either direction: of JPEG what libjpeg writes, of AVIF what decoders open. PNG holds all.
MAX_SIDES: dict[str, int] = {"avif": 32_768, "webp": 16_383, "jpeg": 65_500}
#: What every format can hold.
MAX_SIDE = min(MAX_SIDES.values())

Credit = Literal["artist", "copyright"]

OutputDir = Annotated[
    str,
    "Folder for the files, created if need be. A relative path starts at the folder in which Dagster "
    "was started.",
    MinLen(1),
]
Formats = Annotated[list[Format], "Formats of the renditions: avif, webp, jpeg.", MinLen(1)]
Widths = Annotated[
    list[Annotated[int, Ge(1), Le(MAX_SIDE)]],
    "Widths in pixels. Nothing is enlarged: a photograph that is narrower than the largest of them "
    "gets its own width instead of those above it.",
    MinLen(1),
]
Quality = Annotated[
    dict[Format, Annotated[int, Ge(1), Le(100)]],
    "Quality by format, 1 (smallest file) to 100. A format that is not named keeps its default: "
    + ", ".join(f"{name} {value}" for name, value in DEFAULT_QUALITY.items())
    + ".",
]
KeepMetadata = Annotated[
    list[Credit],
    "What of a photograph's metadata the renditions keep, as EXIF: artist, copyright. Everything else is left out, "
    "where the photograph was taken always.",
]
