"""PNG files as browsers read them: without the text in them, with exact key colours, and with their colour chunks."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops

from project_fanout.images import profiles

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: What Pillow gets to see. Text and profiles are limited there to 1 MB, beyond which it refuses the picture, and the
#: names of texts share one dict with what it has found out.
_FOR_PILLOW = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"acTL", b"fcTL", b"fdAT"))
_READ_HERE = frozenset((b"tRNS", b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"))
_TEXTS = frozenset((b"tEXt", b"zTXt", b"iTXt"))
_WIDE_KEY = "wide_key"  # in the info of a picture
_GREY, _COLOUR, _GREY_WITH_ALPHA = 0, 2, 4
_LARGEST_PROFILE = 1 << 24
_LARGEST_TEXT = 1 << 16
# A gAMA chunk alone that is so near to sRGB is taken as sRGB, as browsers do.
_NEAR_SRGB = 0.05


@dataclass(frozen=True, slots=True)
class Png:
    """What a PNG file says beside its pixels.

    Args:
        content: the file without what only costs.
        depth: bits a sample.
        colour_type: as in its header.
        chunks: those before the pixels that are read here; of several alike the first.
        texts: its latin-1 or UTF-8 texts, as bytes in UTF-8, by keyword.
    """

    content: bytes
    depth: int
    colour_type: int
    chunks: dict[bytes, bytes]
    texts: dict[str, bytes]

    @property
    def is_grey(self) -> bool:
        """Whether its pixels have no colour."""
        return self.colour_type in (_GREY, _GREY_WITH_ALPHA)

    @property
    def colours(self) -> tuple[bytes | None, str | None]:
        """The ICC profile of its pixels, None for sRGB; and what a rendition cannot keep of them, None for nothing.

        cICP goes before iCCP, that before sRGB, and that before gAMA, as in browsers. A chunk that cannot be is none.
        """
        chunks = self.chunks
        # Of no matrix and in full range: all else is for video.
        if len(points := chunks.get(b"cICP", b"")) == 4 and points[2:] == b"\0\1":
            primaries, transfer = points[:2]
            return profiles.of_code_points(primaries, transfer, grey=self.is_grey), profiles.note_on(transfer)
        packed = chunks.get(b"iCCP", b"").partition(b"\0")[2][1:]
        profile = _inflated(packed, _LARGEST_PROFILE) or packed or None
        if profile and profiles.space_of(profile) in (("RGB", "GRAY") if self.is_grey else ("RGB",)):
            return profile, None
        if b"sRGB" not in chunks and len(chunks.get(b"gAMA", b"")) == 4:
            return self._of_gamma(), None
        return profile, None  # one that does not fit: it is ignored where it would count, and the log says so

    def _of_gamma(self) -> bytes | None:
        gamma = int.from_bytes(self.chunks[b"gAMA"], "big") / 100_000
        primaries = None
        if len(chunk := self.chunks.get(b"cHRM", b"")) == 32:
            primaries = tuple(part / 100_000 for part in struct.unpack(">8I", chunk))
        if not 0.01 <= gamma <= 100 or (primaries is None and abs(gamma * 2.2 - 1) < _NEAR_SRGB):
            return None
        try:
            return profiles.of_gamma(gamma, primaries, grey=self.is_grey)
        except (ZeroDivisionError, OverflowError, struct.error):
            return profiles.of_gamma(gamma, None, grey=self.is_grey)  # of primaries that cannot be

    @property
    def key(self) -> tuple[int, ...] | None:
        """The samples of the one colour that is transparent, None for a picture without, or with a palette."""
        chunk, samples = self.chunks.get(b"tRNS", b""), {_GREY: 1, _COLOUR: 3}.get(self.colour_type, 0)
        if not samples or len(chunk) < 2 * samples:
            return None
        most = (1 << self.depth) - 1
        return tuple(value & most for value in struct.unpack_from(f">{samples}H", chunk))


def read_png(path: str | Path) -> Png | None:
    """Return what a file says if it is a PNG, None for any other.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            return None
        data = SIGNATURE + file.read()
    kept, chunks, texts = io.BytesIO(), dict[bytes, bytes](), dict[str, bytes]()
    kept.write(SIGNATURE)
    before_pixels = True
    for name, start, end in _chunks(data):
        before_pixels &= name not in (b"IDAT", b"fdAT")
        if name in _FOR_PILLOW or end > len(data):
            kept.write(memoryview(data)[start:end])
        is_intact = zlib.crc32(data[start + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
        if name in _READ_HERE and before_pixels and is_intact:
            chunks.setdefault(name, data[start + 8 : end - 4])
        elif name in _TEXTS and is_intact:
            keyword, text = _text(name, data[start + 8 : end - 4])
            texts.setdefault(keyword, text)
    depth, colour_type = data[24:26].ljust(2, b"\0")
    return Png(kept.getvalue(), depth, colour_type, chunks, texts)


def prepare(image: Image.Image, png: Png) -> None:
    """Set right what Pillow takes for the key colour of *png*, which *image* is of."""
    if png.key is None:
        return
    most = (1 << png.depth) - 1
    # Pillow widens samples of fewer than 8 bits, not the key; of more than 8 bits it keeps 8 of a colour.
    if png.colour_type == _GREY:
        image.info["transparency"] = png.key[0] * 255 // most if png.depth < 8 else png.key[0]
    elif png.depth == 8:
        image.info["transparency"] = png.key
    else:
        image.info.pop("transparency", None)
        image.info[_WIDE_KEY] = png


def key_out(image: Image.Image) -> None:
    """Give a loaded picture of 16 bits a channel and a key colour the alpha channel that this means."""
    png: Png | None = image.info.pop(_WIDE_KEY, None)
    if png is None or png.key is None:
        return
    opaque = Image.new("L", image.size, 0)
    for shift, layout in ((8, "RGB;16B"), (0, "RGB;16L")):  # its high bytes, then its low ones
        with Image.open(io.BytesIO(png.content), formats=["PNG"]) as half:
            half.tile = [tile._replace(args=layout) for tile in half.tile]
            for band, value in zip(half.split(), png.key, strict=True):
                byte = value >> shift & 255
                differs = band.point([255 * (each != byte) for each in range(256)])
                opaque = ImageChops.lighter(opaque, differs)
    image.putalpha(opaque)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of each chunk; the last may end behind the end of *data*."""
    start = len(SIGNATURE)
    while start < len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        yield data[start + 4 : start + 8], start, end
        start = end


def _text(name: bytes, body: bytes) -> tuple[str, bytes]:
    keyword, _, rest = body.partition(b"\0")
    packed = name == b"zTXt"
    if name == b"iTXt":
        packed, rest = rest[:1] == b"\1", rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif packed:
        rest = rest[1:]
    text = (_inflated(rest, _LARGEST_TEXT) or b"") if packed else rest[:_LARGEST_TEXT]
    return keyword.decode("latin-1"), text if name == b"iTXt" else text.decode("latin-1").encode()


def _inflated(packed: bytes, most: int) -> bytes | None:
    """Return what *packed* holds, None if it is damaged or more than *most* bytes."""
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(packed, most)
    except zlib.error:
        return None
    return None if inflater.unconsumed_tail else content
