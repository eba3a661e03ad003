"""Copyright and artist on request; where a photograph was taken never."""

import struct
from pathlib import Path

import pytest
from PIL import ExifTags, Image, PngImagePlugin
from pydantic import TypeAdapter, ValidationError

from project_fanout.images.catalog import find_pictures
from project_fanout.images.photographs import read_photographs
from project_fanout.images.renditions import render
from project_fanout.images.settings import Credit, KeepMetadata
from project_fanout.images.tables import catalog_table
from project_fanout_tests.images.samples import quadrants

COPYRIGHT, ARTIST = "© 2024 Zoë Ångström".encode(), b"Zo\xc3\xab"
BOTH = {ExifTags.Base.Artist: ARTIST, ExifTags.Base.Copyright: COPYRIGHT}


def exif() -> Image.Exif:
    """Return what a camera writes."""
    made = Image.Exif()
    made[ExifTags.Base.Copyright], made[ExifTags.Base.Artist] = COPYRIGHT, ARTIST
    made[ExifTags.Base.Make] = "SecretCamera"
    made[ExifTags.Base.Orientation] = 1
    made.get_ifd(ExifTags.IFD.GPSInfo)[1] = "SecretNorth"
    made.get_ifd(ExifTags.IFD.Exif)[0xA431] = "SecretSerial"
    return made


def kept(folder: Path, keep: list[Credit]) -> dict[str, dict[int, str]]:
    """Render the photograph in *folder*; return the EXIF of each rendition, by format."""
    output = str(folder.parent / "renditions")
    (record,) = read_photographs(
        catalog_table(find_pictures(folder).pictures), widths=[60], output_dir=output
    )
    found = {}
    for unit in record.units:
        made = render(unit, output_dir=output, keep_metadata=keep)
        assert b"Secret" not in Path(made["path"]).read_bytes()
        with Image.open(made["path"]) as picture:
            found[made["format"]] = dict(picture.getexif())
            assert picture.getexif().get_ifd(ExifTags.IFD.GPSInfo) == {}
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for photographs, with room beside it for what is made of them."""
    (tmp_path / "photographs").mkdir()
    return tmp_path / "photographs"


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp", "avif"])
@pytest.mark.parametrize("keep", [[], ["copyright"], ["artist"], ["artist", "copyright"]])
def test_each_rendition_keeps_what_was_asked_for_and_nothing_else(
    folder: Path, suffix: str, keep: list[Credit]
) -> None:
    """Byte by byte as the camera wrote it, in every format."""
    quadrants().save(folder / f"a.{suffix}", exif=exif())
    expected = {}
    if "artist" in keep:
        expected[ExifTags.Base.Artist] = ARTIST
    if "copyright" in keep:
        expected[ExifTags.Base.Copyright] = COPYRIGHT
    for name, tags in kept(folder, keep).items():
        assert {tag: text.encode("latin-1") for tag, text in tags.items()} == expected, name


@pytest.mark.parametrize("packed", [False, True])
def test_the_texts_of_a_png_count_where_it_has_no_exif(folder: Path, packed: bool) -> None:
    """As editors write them."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Copyright", COPYRIGHT, zip=packed)
    info.add_text("Author", ARTIST.decode(), zip=packed)
    info.add_text("Comment", "SecretComment")
    quadrants().save(folder / "a.png", pnginfo=info)
    for tags in kept(folder, ["artist", "copyright"]).values():
        assert {tag: text.encode("latin-1") for tag, text in tags.items()} == BOTH


def photoshop(**datasets: bytes) -> bytes:
    """Return the segment of a JPEG with IPTC, as agencies write it."""
    records = b"".join(
        b"\x1c" + bytes((2, int(name[1:]))) + struct.pack(">H", len(value)) + value
        for name, value in datasets.items()
    )
    block = b"8BIM" + struct.pack(">H", 0x0404) + bytes(2) + struct.pack(">I", len(records)) + records
    content = b"Photoshop 3.0\0" + block + bytes(len(block) % 2)
    return b"\xff\xed" + struct.pack(">H", len(content) + 2) + content


def test_what_agencies_write_as_iptc_counts_where_there_is_no_exif(folder: Path) -> None:
    """By-line and copyright notice."""
    quadrants().save(folder / "a.jpg")
    content = (folder / "a.jpg").read_bytes()
    (folder / "a.jpg").write_bytes(
        content[:2] + photoshop(d80=ARTIST, d116=COPYRIGHT, d90=b"SecretCity") + content[2:]
    )
    for tags in kept(folder, ["artist", "copyright"]).values():
        assert {tag: text.encode("latin-1") for tag, text in tags.items()} == BOTH


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp", "avif"])
def test_what_editors_write_as_xmp_counts_where_there_is_no_exif(folder: Path, suffix: str) -> None:
    """Creator and rights."""
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description photoshop:City="SecretCity">'
        b'<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">' + COPYRIGHT + b"</rdf:li></rdf:Alt></dc:rights>"
        b"<dc:creator><rdf:Seq><rdf:li>Zo&#235;</rdf:li></rdf:Seq></dc:creator></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    if suffix == "png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp)
        quadrants().save(folder / "a.png", pnginfo=info)
    elif suffix == "tiff":
        quadrants().save(folder / "a.tiff", tiffinfo={700: xmp})
    else:
        quadrants().save(folder / f"a.{suffix}", xmp=xmp)
    for name, tags in kept(folder, ["artist", "copyright"]).items():
        assert {tag: text.encode("latin-1") for tag, text in tags.items()} == BOTH, name


def test_exif_goes_before_everything_else(folder: Path) -> None:
    """It is what cameras write and editors keep."""
    quadrants().save(folder / "a.jpg", exif=exif())
    content = (folder / "a.jpg").read_bytes()
    (folder / "a.jpg").write_bytes(content[:2] + photoshop(d80=b"other", d116=b"other") + content[2:])
    for tags in kept(folder, ["artist", "copyright"]).values():
        assert {tag: text.encode("latin-1") for tag, text in tags.items()} == BOTH


def test_a_photograph_without_credits_gets_none(folder: Path) -> None:
    """There is nothing to keep, and no empty EXIF."""
    quadrants().save(folder / "a.jpg")
    assert set(map(len, kept(folder, ["artist", "copyright"]).values())) == {0}


@pytest.mark.parametrize("wanted", [["gps"], ["position"], ["all"], "copyright"])
def test_nothing_else_can_be_asked_for(wanted: object) -> None:
    """The position least of all."""
    with pytest.raises(ValidationError):
        TypeAdapter(KeepMetadata).validate_python(wanted)
