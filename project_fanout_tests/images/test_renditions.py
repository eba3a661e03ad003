"""Making one rendition: its pixels, its file, its name."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from project_fanout.engine import Unit
from project_fanout.images.catalog import find_pictures
from project_fanout.images.photographs import read_photographs
from project_fanout.images.pictures import PictureError
from project_fanout.images.renditions import render
from project_fanout.images.tables import catalog_table
from project_fanout_tests.images.samples import (
    ADOBE_PRIMARIES,
    BLUE,
    GREEN,
    RED,
    WHITE,
    alike,
    cmyk_profile,
    quadrants,
    quarter_colours,
    rgb_profile,
    with_orientation,
)

FINE = {"avif": 95, "webp": 95, "jpeg": 95}


def rendered(folder, *, formats=("avif", "webp", "jpeg"), widths=(60,), quality=FINE):
    """Render every picture in *folder*; return a loaded picture per format, of the last one."""
    catalog = catalog_table(find_pictures(folder).pictures)
    output = str(folder.parent / "renditions")
    pictures = {}
    for record in read_photographs(catalog, formats=list(formats), widths=list(widths), output_dir=output):
        for unit in record.units:
            made = render(unit, output_dir=output, quality=quality)
            pictures[made["format"]] = picture = Image.open(made["path"])
            picture.load()
    return pictures


@pytest.fixture
def folder(tmp_path):
    """A folder for photographs, with room beside it for what is made of them."""
    (tmp_path / "photographs").mkdir()
    return tmp_path / "photographs"


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_upright(folder, orientation, suffix):
    """Whichever way the camera was held, the rendition stands upright and says nothing of turning."""
    with_orientation(folder / f"photo.{suffix}", orientation)
    picture = rendered(folder, formats=["jpeg"])["jpeg"]
    assert picture.size == (60, 40)
    assert picture.getexif() == {}
    assert all(map(alike, quarter_colours(picture), (RED, GREEN, BLUE, WHITE))), quarter_colours(picture)


def in_mode(mode):
    """Return the quadrants in *mode* without dithering, and the same as RGB."""
    if mode == "I;16":
        grey = quadrants().convert("L")
        wide = Image.new("I;16", grey.size)
        wide.frombytes(b"".join(bytes((value, value)) for value in grey.tobytes()))
        return wide, grey.convert("RGB")
    if mode == "P":
        picture = quadrants().quantize(4)
    elif mode == "1":
        picture = quadrants().convert("L").point(lambda value: 255 * (value > 100)).convert("1")
    else:
        picture = quadrants().convert(mode)
    return picture, picture.convert("RGB")


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [("png", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")]
    + [("tiff", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "YCbCr")]
    + [("jpg", mode) for mode in ("L", "RGB", "CMYK")]
    + [("webp", "RGBA"), ("avif", "RGBA"), ("gif", "P"), ("bmp", "RGB"), ("jp2", "RGB"), ("ppm", "RGB")],
)
def test_every_kind_of_pixels_keeps_its_colours(folder, mode, suffix):
    """Grey, palette, 16-bit, CMYK or with alpha: each format shows what the original shows."""
    picture, expected = in_mode(mode)
    options = {"quality": 95} if suffix in ("jpg", "webp", "avif") else {}
    if mode == "YCbCr":  # as scanners write it; Pillow 11 cannot read it uncompressed
        options = {"compression": "jpeg", "quality": 95}
    picture.save(folder / f"photo.{suffix}", **options)
    with Image.open(folder / f"photo.{suffix}") as stored:
        assert stored.mode in (mode, "RGB")
    for name, made in rendered(folder).items():
        assert made.size == (60, 40), name
        assert all(map(alike, quarter_colours(made), quarter_colours(expected))), (
            name,
            quarter_colours(made),
        )


def test_sixteen_bits_are_scaled_not_clipped(folder):
    """A 16-bit scan keeps its greys: dark, middle and light stay apart, white is white."""
    scan = Image.new("I;16", (40, 10))
    steps = (0, 65535 // 4, 65535 // 2, 65535)
    scan.frombytes(b"".join(steps[x // 10].to_bytes(2, "little") for _ in range(10) for x in range(40)))
    scan.save(folder / "scan.png")
    picture = rendered(folder, formats=["jpeg"], widths=[40])["jpeg"].convert("L")
    greys = [picture.getpixel((x, 5)) for x in (4, 14, 24, 35)]
    assert alike(greys, (0, 64, 128, 255), 6), greys


@pytest.mark.parametrize("how", ["alpha", "palette", "key colour"])
def test_what_is_transparent_stays_so_or_turns_white(folder, how):
    """AVIF and WebP keep the alpha channel; a JPEG shows the picture as on a white page."""
    if how == "alpha":
        picture = quadrants().convert("RGBA")
        picture.paste((0, 0, 0, 0), (0, 0, 60, 40))
        picture.save(folder / "logo.png")
    elif how == "palette":
        picture = quadrants().convert("P", palette=Image.Palette.ADAPTIVE)
        picture.save(folder / "logo.png", transparency=picture.getpixel((10, 10)))
    else:
        quadrants().save(folder / "logo.png", transparency=RED)
    made = rendered(folder)
    for name in ("avif", "webp"):
        alpha = made[name].convert("RGBA").getchannel("A")
        assert (alpha.getpixel((10, 10)), alpha.getpixel((50, 30))) == (0, 255), name
        assert alike(made[name].convert("RGB").getpixel((15, 30)), BLUE), name
    assert made["jpeg"].mode == "RGB"
    assert alike(quarter_colours(made["jpeg"])[0], WHITE)
    assert alike(quarter_colours(made["jpeg"])[1], GREEN)


def test_half_transparent_edges_do_not_darken(folder):
    """Scaling mixes colours by their weight: a white disc on transparent black keeps a white rim."""
    picture = Image.new("RGBA", (120, 80), (0, 0, 0, 0))
    picture.paste((255, 255, 255, 255), (31, 21, 90, 60))
    picture.save(folder / "disc.png")
    made = rendered(folder, formats=["jpeg"], widths=[30])["jpeg"].convert("L")
    assert made.getextrema()[0] > 245


def test_an_opaque_alpha_channel_is_left_out(folder):
    """An alpha channel that hides nothing costs nothing."""
    quadrants().convert("RGBA").save(folder / "photo.png")
    assert {picture.mode for picture in rendered(folder).values()} == {"RGB"}


def to_srgb(colour):
    """Return an Adobe RGB colour in sRGB, worked out from the definitions of both."""
    linear = [(channel / 255) ** (563 / 256) for channel in colour]
    x, y, z = (sum(linear[i] * ADOBE_PRIMARIES[i][axis] for i in range(3)) for axis in range(3))
    # From XYZ under D50 to linear sRGB.
    rows = ((3.1339, -1.6169, -0.4906), (-0.9788, 1.9161, 0.0335), (0.0719, -0.2290, 1.4052))
    linear = [min(1, max(0, a * x + b * y + c * z)) for a, b, c in rows]
    return tuple(
        round(255 * (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055)) for v in linear
    )


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_wide_gamut_colours_are_converted(folder, suffix):
    """A photograph in Adobe RGB looks the same in a browser that takes every picture as sRGB."""
    colour = (120, 180, 90)
    Image.new("RGB", (120, 80), colour).save(folder / f"photo.{suffix}", icc_profile=rgb_profile())
    expected = to_srgb(colour)
    assert not alike(colour, expected)
    for name, picture in rendered(folder).items():
        assert alike(picture.convert("RGB").getpixel((30, 20)), expected, 5), name
        assert "icc_profile" not in picture.info


def test_cmyk_goes_through_its_own_profile(folder):
    """Printed colours come out as the inks of the embedded profile make them."""
    picture = Image.new("CMYK", (120, 80), (0, 0, 0, 0))
    picture.paste((255, 0, 0, 0), (0, 0, 60, 80))
    picture.save(folder / "print.tiff", icc_profile=cmyk_profile())
    made = rendered(folder, formats=["jpeg"])["jpeg"]
    assert alike(made.getpixel((15, 20)), (255, 0, 0), 20), made.getpixel((15, 20))
    assert alike(made.getpixel((45, 20)), WHITE)


@pytest.mark.parametrize("profile", [b"nonsense", cmyk_profile()], ids=["damaged", "of other pixels"])
def test_a_profile_that_does_not_fit_is_ignored(folder, profile, caplog):
    """A broken profile costs the picture nothing: it is shown as a browser would."""
    caplog.set_level(logging.INFO)
    quadrants().save(folder / "photo.png", icc_profile=profile)
    made = rendered(folder, formats=["jpeg"])["jpeg"]
    assert all(map(alike, quarter_colours(made), (RED, GREEN, BLUE, WHITE)))
    assert "ICC profile is ignored" in caplog.text


def test_an_srgb_profile_changes_nothing(folder):
    """The profile that most cameras embed is what browsers assume anyway."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    quadrants().save(folder / "photo.png", icc_profile=profile)
    assert all(map(alike, quarter_colours(rendered(folder)["jpeg"]), (RED, GREEN, BLUE, WHITE)))


def test_nobody_learns_where_a_photograph_was_taken(folder):
    """GPS position, camera, comment, XMP and profile do not reach the web."""
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    exif.get_ifd(0x8825)[1] = "SecretNorth"
    quadrants().save(
        folder / "photo.jpg", exif=exif, comment=b"SecretComment", xmp=b"SecretXmp", icc_profile=rgb_profile()
    )
    assert (folder / "photo.jpg").read_bytes().count(b"Secret") == 4
    for name, picture in rendered(folder).items():
        with Path(picture.filename).open("rb") as file:
            assert b"Secret" not in file.read(), name
        assert not {"exif", "xmp", "comment", "icc_profile"} & set(picture.info), name


def test_a_reduced_jpeg_is_as_sharp_as_the_whole(folder):
    """Decoding a large JPEG at a fraction of its size, which is faster, shows in no pixel."""
    large = Image.effect_noise((1600, 1200), 60).resize((1600, 1200)).convert("RGB")
    large.save(folder / "large.jpg", quality=95)
    made = rendered(folder, formats=["jpeg"], widths=[160])["jpeg"].convert("L").resize((40, 30))
    with Image.open(folder / "large.jpg") as whole:
        exact = whole.convert("L").resize((160, 120), Image.Resampling.LANCZOS).resize((40, 30))
    assert max(abs(a - b) for a, b in zip(made.tobytes(), exact.tobytes(), strict=True)) <= 4


def test_quality_decides_the_size_of_the_file(folder, tmp_path):
    """Each format heeds its own quality; one that is not named keeps its default."""
    Image.effect_noise((200, 150), 80).save(folder / "photo.png")
    (record,) = read_photographs(
        catalog_table(find_pictures(folder).pictures), widths=[200], output_dir=str(tmp_path / "out")
    )
    for unit in record.units:
        name = unit.payload["format"]
        sizes = [
            render(unit, output_dir=str(tmp_path / "out"), quality=quality)["bytes"]
            for quality in ({name: 20}, {}, {name: 95})
        ]
        assert sizes == sorted(set(sizes)), name


def one_unit(folder, output):
    """Return the only unit of a folder with one photograph."""
    quadrants().save(folder / "photo.jpg")
    catalog = catalog_table(find_pictures(folder).pictures)
    (record,) = read_photographs(catalog, formats=["jpeg"], widths=[60], output_dir=str(output))
    return record.units[0]


def test_a_second_run_replaces_the_file_at_once_and_leaves_nothing_beside_it(folder, tmp_path):
    """Who has the old file open reads the old file to its end; afterwards there is the new one alone."""
    unit = one_unit(folder, tmp_path / "out")
    first = render(unit, output_dir=str(tmp_path / "out"), quality={"jpeg": 20})
    with Path(first["path"]).open("rb") as reader:
        second = render(unit, output_dir=str(tmp_path / "out"), quality={"jpeg": 95})
        assert len(reader.read()) == first["bytes"]
    assert second["path"] == first["path"]
    assert Path(second["path"]).stat().st_size == second["bytes"] > first["bytes"]
    assert [each.name for each in (tmp_path / "out" / "photo.jpg").iterdir()] == ["60.jpg"]


def test_a_file_that_cannot_be_put_in_place_leaves_nothing(folder, tmp_path):
    """When writing fails, no half-written file stays behind."""
    unit = one_unit(folder, tmp_path / "out")
    (tmp_path / "out" / "photo.jpg" / "60.jpg").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        render(unit, output_dir=str(tmp_path / "out"))
    assert [each.name for each in (tmp_path / "out" / "photo.jpg").iterdir()] == ["60.jpg"]


@pytest.mark.parametrize(
    "key", ["../x.jpg", "/x.jpg", "..", "\u041c\u043e\u0440\u0435.jpg", "a b/c.jpg", "x" * 300]
)
def test_every_file_lands_in_the_output_folder(folder, tmp_path, key):
    """No name of a photograph makes a file appear elsewhere, or one that cannot be written."""
    unit = one_unit(folder, tmp_path / "out")
    made = render(Unit(unit.key, {**unit.payload, "file": key}), output_dir=str(tmp_path / "out"))
    (written,) = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert str(written) == made["path"]
    assert len(written.relative_to(tmp_path / "out").parts) == 2


def test_a_photograph_that_changed_since_is_refused(folder, tmp_path):
    """A rendition is of the photograph that was catalogued, or there is none."""
    unit = one_unit(folder, tmp_path / "out")
    quadrants(30, 20).save(folder / "photo.jpg")
    with pytest.raises(PictureError, match="has changed: 30 x 20 pixels, 120 x 80 when catalogued"):
        render(unit, output_dir=str(tmp_path / "out"))
    (folder / "photo.jpg").unlink()
    with pytest.raises(PictureError, match="does not exist"):
        render(unit, output_dir=str(tmp_path / "out"))


def test_a_picture_too_tall_for_webp_is_refused_by_name(folder):
    """An endless screenshot fails in the one format that cannot hold it, and says so."""
    Image.new("L", (16, 17_000)).save(folder / "endless.png")
    assert rendered(folder, formats=["jpeg"], widths=[16])["jpeg"].size == (16, 17_000)
    with pytest.raises(PictureError, match="16 x 17000 is too tall for WebP"):
        rendered(folder, formats=["webp"], widths=[16])


def test_a_result_is_json_and_says_what_is_on_disk(folder, tmp_path):
    """What a unit returns can be stored, and agrees with the file."""
    made = render(one_unit(folder, tmp_path / "out"), output_dir=str(tmp_path / "out"))
    assert json.loads(json.dumps(made)) == made
    with Image.open(made["path"]) as picture:
        assert (picture.format, picture.size) == ("JPEG", (made["width"], made["height"]))
    assert Path(made["path"]).stat().st_size == made["bytes"]


def test_a_worker_that_renders_loads_pillow_and_no_more():
    """A pool worker imports the stage's module alone: no Dagster, no pandas, no database."""
    heavy = {"dagster", "pandas", "numpy", "duckdb", "pydantic", "jinja2", "sqlalchemy"}
    code = f"import sys, project_fanout.images.renditions; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
