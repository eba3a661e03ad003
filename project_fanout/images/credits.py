"""Who made a photograph and who owns it, as its file says: what a rendition may keep of its metadata."""

from collections.abc import Collection, Mapping

from PIL import ExifTags, Image

from project_fanout.images.pictures import TEXTS, exif_value
from project_fanout.images.settings import Credit

_TAGS: dict[Credit, int] = {"artist": ExifTags.Base.Artist, "copyright": ExifTags.Base.Copyright}
#: Keywords of the texts of a PNG that say the same.
_KEYWORDS: dict[Credit, str] = {"artist": "Author", "copyright": "Copyright"}
#: A JPEG has room for 64 kB of EXIF.
_LONGEST = 8192


def credits_of(image: Image.Image, wanted: Collection[Credit]) -> bytes:
    """Return EXIF with nothing but those of the *wanted* credits that the file of *image* has, b"" for none."""
    kept = Image.Exif()
    for credit, tag in _TAGS.items():
        if credit in wanted and (value := _value(image, credit)):
            kept[tag] = value
    return kept.tobytes() if len(kept) else b""


def _value(image: Image.Image, credit: Credit) -> bytes:
    value = exif_value(image, _TAGS[credit])
    if isinstance(value, str):
        # Pillow reads bytes as Latin-1, whatever they are: so they stay as they were.
        value = value.encode("latin-1", "replace")
    if not isinstance(value, bytes) or not value.strip(b" \0"):
        texts: Mapping[str, bytes] = image.info.get(TEXTS, {})
        value = texts.get(_KEYWORDS[credit], b"")
    # A copyright may have two parts, of the photographer and of the editor, with a zero between them.
    return b"; ".join(part.strip() for part in value[:_LONGEST].split(b"\0") if part.strip())
