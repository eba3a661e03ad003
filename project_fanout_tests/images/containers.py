"""PNG and TIFF files written sample by sample, and ICC profiles: of kinds that Pillow does not write."""

import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

Chunk = tuple[bytes, bytes]
GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6


def packed(samples: np.ndarray, depth: int, order: str = ">") -> list[bytes]:
    """Return the rows of *samples* (height x width x channels) with *depth* bits each, as PNG and TIFF pack them."""
    height = samples.shape[0]
    if depth == 16:
        return [row.astype(f"{order}u2").tobytes() for row in samples.reshape(height, -1)]
    bits = (samples.reshape(height, -1, 1) >> np.arange(depth - 1, -1, -1)) & 1
    return [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in bits]


def png(
    samples: np.ndarray,
    depth: int,
    colour_type: int,
    chunks: Sequence[Chunk] = (),
    after: Sequence[Chunk] = (),
) -> bytes:
    """Return a PNG file, *chunks* before its pixels and *after* behind them."""
    height, width = samples.shape[:2]
    pixels = b"".join(b"\0" + row for row in packed(samples, depth))
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    everything = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(pixels)), *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, everything))


def _chunk(chunk: Chunk) -> bytes:
    name, content = chunk
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def iccp(profile: bytes) -> Chunk:
    """Return the chunk with an ICC profile."""
    return b"iCCP", b"sRGB\0\0" + zlib.compress(profile)


def gama(gamma: float) -> Chunk:
    """Return the chunk that says to which power samples are of light."""
    return b"gAMA", struct.pack(">I", round(gamma * 100_000))


def chrm(*xy: float) -> Chunk:
    """Return the chunk with x and y of white, red, green and blue."""
    return b"cHRM", struct.pack(">8I", *(round(each * 100_000) for each in xy))


def cicp(primaries: int, transfer: int) -> Chunk:
    """Return the chunk with code points of ITU-T H.273."""
    return b"cICP", bytes((primaries, transfer, 0, 1))


def tiff(
    *pages: tuple[np.ndarray, int, dict[int, int | tuple[int, ...] | bytes]],
    order: str = "<",
    packing: int = 1,
) -> bytes:
    """Return a TIFF file of pages: samples, bits a sample, and further tags. *packing* is 1 for none, 8 for deflate."""
    out = bytearray((b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 0))
    link = 4
    for samples, depth, more in pages:
        height, width, channels = samples.shape
        strip = b"".join(packed(samples, depth, order))
        strip = zlib.compress(strip) if packing == 8 else strip
        tags: dict[int, int | tuple[int, ...] | bytes] = {
            256: width,
            257: height,
            258: (depth,) * channels,
            259: packing,
            262: 1,
            273: len(out),
            277: channels,
            278: height,
            279: len(strip),
            **more,
        }
        out += strip + bytes(len(strip) % 2)
        entries = b""
        for tag, value in sorted(tags.items()):
            kind, content = (7, value) if isinstance(value, bytes) else (4, _longs(value, order))
            count = len(content) // (1 if kind == 7 else 4)
            if len(content) > 4:
                place = struct.pack(f"{order}I", len(out))
                out += content + bytes(len(content) % 2)
            else:
                place = content.ljust(4, b"\0")
            entries += struct.pack(f"{order}HHI", tag, kind, count) + place
        out[link : link + 4] = struct.pack(f"{order}I", len(out))
        out += struct.pack(f"{order}H", len(tags)) + entries
        link = len(out)
        out += bytes(4)
    return bytes(out)


def _longs(value: int | tuple[int, ...], order: str) -> bytes:
    values = (value,) if isinstance(value, int) else value
    return struct.pack(f"{order}{len(values)}I", *values)


def icc(space: bytes, gamma: float, primaries: np.ndarray | None = None, name: bytes = b"sRGB") -> bytes:
    """Return an ICC profile for samples that are light to the power of 1 / *gamma*.

    Args:
        space: b"RGB " or b"GRAY".
        gamma: the exponent from samples to light.
        primaries: XYZ under D50 of red, green and blue, a column each.
        name: what it calls itself.
    """
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name + bytes(79),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": _xyz((0.9642, 1.0, 0.8249)),
    }
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        for place, channel in enumerate((b"r", b"g", b"b")):
            tags[channel + b"XYZ"], tags[channel + b"TRC"] = _xyz(primaries[:, place]), curve
    starts = [128 + 4 + 12 * len(tags)]
    contents = [content + bytes(-len(content) % 4) for content in tags.values()]
    for content in contents:
        starts.append(starts[-1] + len(content))
    index = b"".join(
        tag + struct.pack(">II", start, end - start)
        for tag, (start, end) in zip(tags, pairwise(starts), strict=True)
    )
    header = struct.pack(">I4xI4s4s4s", starts[-1], 0x02400000, b"mntr", space, b"XYZ ")
    header += (
        struct.pack(">6H", 2020, 1, 1, 0, 0, 0)
        + b"acsp"
        + bytes(28)
        + struct.pack(">3i", 63190, 65536, 54061)
    )
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + index + b"".join(contents)


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(value) * 65536) for value in values))
