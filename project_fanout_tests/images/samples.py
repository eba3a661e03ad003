"""Pictures made for the tests: every kind of pixels, every kind of trouble."""

import os
import struct
import zlib
from pathlib import Path

from PIL import Image

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 30), (30, 30, 220), (255, 255, 255)

#: How stored pixels get from what is seen, by EXIF orientation: the inverse of what a viewer does.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def quadrants(width: int = 120, height: int = 80) -> Image.Image:
    """Red, green, blue and white quarters: every turn and flip of it looks different."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(WHITE, (width // 2, height // 2, width, height))
    return image


def quarter_colours(image: Image.Image) -> list[tuple[int, ...]]:
    """The colours in the middle of the four quarters, row by row."""
    rgb = image.convert("RGB")
    width, height = rgb.size
    return [rgb.getpixel((width * x // 4, height * y // 4)) for y in (1, 3) for x in (1, 3)]


def alike(one, other, tolerance: int = 12) -> bool:
    """Whether two colours differ by no more than a lossy format may change them."""
    return all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))


def with_orientation(path: Path, orientation: int) -> Path:
    """Write the quadrants so that a viewer which heeds the EXIF orientation shows them upright."""
    image = quadrants()
    if orientation in STORED:
        image = image.transpose(STORED[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif, quality=95)
    return path


def rgb_profile() -> bytes:
    """An ICC profile with the primaries of Adobe RGB (1998), relative to D50, and a gamma of 563/256."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, 563) + bytes(2)
    tags = {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve, b"wtpt": _xyz(0.9642, 1.0, 0.8249)}
    for name, primary in zip((b"rXYZ", b"gXYZ", b"bXYZ"), ADOBE_PRIMARIES, strict=True):
        tags[name] = _xyz(*primary)
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


ADOBE_PRIMARIES = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))


def cmyk_profile() -> bytes:
    """An ICC profile of odd inks: black prints black, cyan prints as sRGB red, all else as white."""
    black, red, white = bytes((0, 128, 128)), bytes((136, 208, 195)), bytes((255, 128, 128))
    table = b"".join(black if ink & 0b0001 else red if ink & 0b1000 else white for ink in range(16))
    identity = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    ramp = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + identity + ramp * 4 + table + ramp * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": lut, b"wtpt": _xyz(0.9642, 1.0, 0.8249)})


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = b"made for a test"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + bytes(1 + 4 + 4 + 2 + 1 + 67),
        b"cprt": b"text" + bytes(4) + b"none\0",
        **tags,
    }
    offset = 128 + 4 + 12 * len(tags)
    index, body = b"", b""
    for name, content in tags.items():
        index += name + struct.pack(">II", offset + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = offset + len(body)
    header = (
        struct.pack(">I4xI", size, 0x02400000)
        + kind
        + space
        + connection
        + struct.pack(">6H", 2020, 1, 1, 0, 0, 0)
    )
    header += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + index + body


def bomb(path: Path, side: int = 40_000) -> Path:
    """Write a PNG of a few hundred bytes that claims *side* x *side* pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10_000)))
        + chunk(b"IEND", b"")
    )
    return path


def bad_pictures(folder: Path) -> dict[str, str]:
    """Write one of each bad picture into *folder*; return what the reason for each must say, by file."""
    (folder / "zero.jpg").write_bytes(b"")
    quadrants(800, 600).save(folder / "truncated.jpg", quality=95)
    whole = (folder / "truncated.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("Dear Sir or Madam")
    bomb(folder / "bomb.png")
    frames = [quadrants().rotate(angle) for angle in (0, 90, 180)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "animated.webp", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "pages.tiff", save_all=True, append_images=frames[1:])
    (folder / "folder.jpg").mkdir()
    (folder / "link.png").symlink_to(folder / "gone.png")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    Image.new("F", (4, 4)).save(folder / "float.tiff")
    return {
        "zero.jpg": "empty: 0 bytes",
        "truncated.jpg": "truncated",
        "text.png": "not an image file",
        "bomb.png": "decompression bomb",
        "animated.gif": "GIF with 3 frames",
        "animated.webp": "WEBP with 3 frames",
        "pages.tiff": "TIFF with 3 pages",
        "folder.jpg": "not a file but a folder",
        "link.png": f"broken link: {folder / 'link.png'}",
        "pipe.jpg": "not a file but a named pipe",
        "phone.heic": ".heic files are not read",
        "float.tiff": "floating-point",
    }
