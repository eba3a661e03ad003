"""Who made a photograph and who owns it, as its file says: what a rendition may keep of its metadata."""

import re
from collections.abc import Collection, Iterator
from html import unescape

from PIL import ExifTags, Image, ImageFile, IptcImagePlugin

from project_fanout.images.pictures import TEXTS, exif_value
from project_fanout.images.settings import Credit

_TAGS: dict[Credit, int] = {"artist": ExifTags.Base.Artist, "copyright": ExifTags.Base.Copyright}
#: The same in IPTC, in XMP, and as keywords of the texts of a PNG.
_DATASETS: dict[Credit, tuple[int, int]] = {"artist": (2, 80), "copyright": (2, 116)}
_PROPERTIES: dict[Credit, bytes] = {"artist": b"dc:creator", "copyright": b"dc:rights"}
_KEYWORDS: dict[Credit, str] = {"artist": "Author", "copyright": "Copyright"}
#: A JPEG has room for 64 kB of EXIF.
_LONGEST = 8192
_LONGEST_XMP = 1 << 20
_ITEM = re.compile(rb"<rdf:li\b[^>]*>([^<]*)</rdf:li>")


def credits_of(image: Image.Image, wanted: Collection[Credit]) -> bytes:
    """Return EXIF with nothing but those of the *wanted* credits that the file of *image* has, b"" for none.

    Where its EXIF has none, those of its IPTC count, of its XMP, or the texts of a PNG, in this order.
    """
    kept = Image.Exif()
    for credit, tag in _TAGS.items():
        values = (_plain(value) for value in _values(image, credit)) if credit in wanted else iter(())
        if value := next(filter(None, values), b""):
            kept[tag] = value
    return kept.tobytes() if len(kept) else b""


def _values(image: Image.Image, credit: Credit) -> Iterator[bytes]:
    value = exif_value(image, _TAGS[credit])
    if isinstance(value, str):
        # Pillow reads bytes as Latin-1, whatever they are: so they stay as they were.
        value = value.encode("latin-1", "replace")
    yield value if isinstance(value, bytes) else b""
    yield _of_iptc(image, _DATASETS[credit])
    texts: dict[str, bytes] = image.info.get(TEXTS) or {}
    xmp = image.info.get("xmp") or texts.get("XML:com.adobe.xmp", b"")
    yield _of_xmp(xmp, _PROPERTIES[credit]) if isinstance(xmp, bytes) else b""
    yield texts.get(_KEYWORDS[credit], b"")


def _plain(value: bytes) -> bytes:
    """Return a credit in one line: EXIF's copyright may have parts of photographer and editor, with a zero between."""
    return b"; ".join(part.strip() for part in value[:_LONGEST].split(b"\0") if part.strip())


def _of_iptc(image: Image.Image, dataset: tuple[int, int]) -> bytes:
    if not isinstance(image, ImageFile.ImageFile):
        return b""
    try:
        found = (IptcImagePlugin.getiptcinfo(image) or {}).get(dataset, b"")
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, AttributeError):
        return b""  # damaged, which costs the picture nothing
    return b"\0".join(found) if isinstance(found, list) else found


def _of_xmp(xmp: bytes, name: bytes) -> bytes:
    start = xmp.find(b"<" + name + b">", 0, _LONGEST_XMP)
    end = xmp.find(b"</" + name + b">", start, _LONGEST_XMP) if start >= 0 else -1
    items = _ITEM.findall(xmp[start:end]) if end >= 0 else []
    return b"\0".join(unescape(item.decode("utf-8", "replace")).encode() for item in items)
