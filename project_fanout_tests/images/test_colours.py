"""What is seen of each kind of pixels in each kind of file, against arithmetic on the samples."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from project_fanout.images import pixels
from project_fanout.images.catalog import find_pictures
from project_fanout.images.pictures import loaded, opened
from project_fanout_tests.images.containers import (
    COLOUR,
    COLOUR_ALPHA,
    GREY,
    GREY_ALPHA,
    PALETTE,
    Chunk,
    chrm,
    cicp,
    gama,
    icc,
    iccp,
    png,
    tiff,
)

SRGB_XY = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
P3_XY = (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
BT2020_XY = (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
ADOBE_XY = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
# Exact up to what 8 bits before and after the conversion leave of it.
TOLERANCE = 2


def to_xyz(xy: tuple[float, ...]) -> np.ndarray:
    """Return the matrix from linear RGB to XYZ of primaries and white given as x, y."""
    white, *primaries = (np.array((x, y, 1 - x - y)) / y for x, y in zip(xy[::2], xy[1::2], strict=True))
    columns = np.array(primaries).T
    return columns * np.linalg.solve(columns, white)


def under_d50(matrix: np.ndarray) -> np.ndarray:
    """Return a matrix to XYZ under D65 as one to XYZ under D50, by Bradford."""
    bradford = np.array(((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296)))
    d65, d50 = matrix.sum(axis=1), np.array((0.9642, 1.0, 0.8249))
    gain = np.diag((bradford @ d50) / (bradford @ d65))
    return np.linalg.inv(bradford) @ gain @ bradford @ matrix


def seen(
    values: np.ndarray, to_light: Callable[[np.ndarray], np.ndarray], xy: tuple[float, ...]
) -> np.ndarray:
    """Return samples from 0 to 1 (three in the last axis) as sRGB from 0 to 255."""
    light = to_light(values) @ (np.linalg.inv(to_xyz(SRGB_XY)) @ to_xyz(xy)).T
    light = light.clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def as_srgb(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def power(exponent: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: values**exponent


@dataclass(frozen=True)
class Colours:
    """What a file says of its colours.

    Args:
        icc: its profile.
        chunks: of a PNG, what else it has.
        curve: what that means: from samples to light.
        xy: likewise: white and primaries.
        is_for: whether it is for grey ("grey"), for colours ("colour"), or for both; elsewhere it is ignored.
    """

    icc: bytes | None = None
    chunks: tuple[Chunk, ...] = ()
    curve: Callable[[np.ndarray], np.ndarray] = as_srgb
    xy: tuple[float, ...] = SRGB_XY
    is_for: tuple[str, ...] = ("grey", "colour")

    def of(self, values: np.ndarray, kind: str) -> np.ndarray:
        return seen(values, self.curve, self.xy) if kind in self.is_for else 255 * values


SRGB_MATRIX, ADOBE_MATRIX = under_d50(to_xyz(SRGB_XY)), under_d50(to_xyz(ADOBE_XY))
LINEAR = icc(b"RGB ", 1.0, SRGB_MATRIX, b"sRGB-elle-V2-g10")
PROFILES = {
    "no profile": Colours(),
    "linear, called sRGB": Colours(LINEAR, curve=power(1)),
    "Adobe RGB": Colours(icc(b"RGB ", 2.19921875, ADOBE_MATRIX), curve=power(2.19921875), xy=ADOBE_XY),
    "grey, linear": Colours(icc(b"GRAY", 1.0), curve=power(1), is_for=("grey",)),
    "grey, gamma 1.8": Colours(icc(b"GRAY", 1.8, name=b"sRGB"), curve=power(1.80078125), is_for=("grey",)),
}
OF_PNG = {
    "gAMA 1": Colours(chunks=(gama(1.0),), curve=power(1)),
    "gAMA 0.7": Colours(chunks=(gama(0.7),), curve=power(1 / 0.7)),
    "gAMA 0.45455": Colours(chunks=(gama(0.45455),)),
    "gAMA and cHRM": Colours(chunks=(gama(0.5), chrm(*P3_XY)), curve=power(2), xy=P3_XY),
    "cHRM alone": Colours(chunks=(chrm(*P3_XY),)),
    "sRGB before gAMA": Colours(chunks=(gama(1.0), (b"sRGB", b"\0"))),
    "iCCP before gAMA": Colours(chunks=(gama(0.3), iccp(LINEAR)), curve=power(1)),
    "gAMA after a damaged iCCP": Colours(chunks=(gama(1.0), iccp(b"damaged")), curve=power(1)),
    "cICP, Display P3": Colours(chunks=(cicp(12, 13),), xy=P3_XY),
    "cICP before iCCP": Colours(chunks=(cicp(12, 13), iccp(LINEAR)), xy=P3_XY),
    "cICP, BT.2020, linear": Colours(chunks=(cicp(9, 8),), curve=power(1), xy=BT2020_XY),
    "cICP, BT.709": Colours(chunks=(cicp(1, 1),), curve=power(2.4)),
    "cICP, unknown numbers": Colours(chunks=(cicp(200, 201),)),
}


def ramp(depth: int, channels: int) -> np.ndarray:
    """Return samples of every height, another in each channel, in two rows of 24; of 16 bits those that 8 can hold."""
    most = (1 << depth) - 1
    steps = np.linspace(0, min(most, 255), 24).round().astype(np.int64)
    if depth >= 8:
        steps[:12] = np.arange(12)  # the dark is where conversions go wrong
    steps *= 257 if depth == 16 else 1
    if depth == 12:
        steps = np.linspace(0, most, 24).round().astype(np.int64)
    rows = [
        np.stack([np.roll(steps, 7 * row + 5 * channel) for channel in range(channels)], axis=-1)
        for row in (0, 1)
    ]
    return np.array(rows)


def shown(path: Path) -> np.ndarray:
    """Return what becomes of the picture at *path*, as RGBA."""
    with opened(path) as image:
        loaded(image)
        return np.asarray(pixels.scaled(image, *image.size).convert("RGBA")).astype(float)


def check(path: Path, content: bytes, colours: np.ndarray, alpha: np.ndarray) -> str:
    """Return what is wrong with what becomes of *content*, "" for nothing. Colours nobody sees may be any."""
    path.write_bytes(content)
    made = shown(path)
    visible = alpha > 0
    worst = np.abs(made[..., :3] - colours)[visible].max(initial=0)
    worst_alpha = np.abs(made[..., 3] - alpha).max()
    if worst <= TOLERANCE and worst_alpha <= 1:
        return ""
    return f"colours differ by {worst:.1f}, alpha by {worst_alpha:.1f}"


@dataclass
class Report:
    """What differs, by case."""

    wrong: dict[str, str] = field(default_factory=dict)
    cases: int = 0

    def note(self, case: str, wrong: str) -> None:
        self.cases += 1
        if wrong:
            self.wrong[case] = wrong


def png_cases(say: Colours):
    """Yield name, samples, depth, colour type, chunks, and the colours from 0 to 1 and alpha that they mean."""
    profile = () if say.icc is None else (iccp(say.icc),)
    said = (*profile, *say.chunks)
    for depth in (1, 2, 4, 8, 16):
        most = (1 << depth) - 1
        grey = ramp(depth, 1)
        values = np.repeat(grey / most, 3, axis=-1)
        opaque = np.full(grey.shape[:2], 255.0)
        yield f"grey {depth}", grey, depth, GREY, said, values, opaque, "grey"
        # No transparent sample, one that is, and one of 16 bits of which the low ones count.
        for key in {0, most, int(grey[0, 13, 0])}:
            chunk = (b"tRNS", struct.pack(">H", key | (0 if depth == 16 else 0x4000)))
            alpha = np.where(grey[..., 0] == key, 0.0, 255.0)
            yield f"grey {depth}, {key} is clear", grey, depth, GREY, (*said, chunk), values, alpha, "grey"
    for depth in (8, 16):
        most = (1 << depth) - 1
        both = ramp(depth, 2)
        values = np.repeat(both[..., :1] / most, 3, axis=-1)
        yield (
            f"grey {depth} + alpha",
            both,
            depth,
            GREY_ALPHA,
            said,
            values,
            255 * both[..., 1] / most,
            "grey",
        )
        rgb, rgba = ramp(depth, 3), ramp(depth, 4)
        opaque = np.full(rgb.shape[:2], 255.0)
        yield f"RGB {depth}", rgb, depth, COLOUR, said, rgb / most, opaque, "colour"
        alpha = 255 * rgba[..., 3] / most
        yield f"RGB {depth} + alpha", rgba, depth, COLOUR_ALPHA, said, rgba[..., :3] / most, alpha, "colour"
        for near in (0, 1):  # the key itself, and one that differs from every pixel in its last bit
            key = rgb[1, 9] ^ (0, 0, near)
            chunk = (b"tRNS", struct.pack(">3H", *(int(each) for each in key)))
            alpha = np.where((rgb == key).all(axis=-1), 0.0, 255.0)
            yield (
                f"RGB {depth}, {near} beside the key",
                rgb,
                depth,
                COLOUR,
                (*said, chunk),
                rgb / most,
                alpha,
                "colour",
            )
    for depth in (1, 2, 4, 8):
        places = ramp(depth, 1)
        entries = np.random.default_rng(depth).integers(0, 256, (1 << depth, 3))
        clear = np.arange(1 << depth) * 255 // ((1 << depth) - 1)
        palette = (b"PLTE", entries.astype(np.uint8).tobytes())
        values = entries[places[..., 0]] / 255
        opaque = np.full(places.shape[:2], 255.0)
        yield f"palette {depth}", places, depth, PALETTE, (*said, palette), values, opaque, "colour"
        chunks = (*said, palette, (b"tRNS", clear.astype(np.uint8).tobytes()))
        alpha = clear[places[..., 0]].astype(float)
        yield f"palette {depth} + alpha", places, depth, PALETTE, chunks, values, alpha, "colour"


def test_every_kind_of_png_shows_what_its_samples_mean(tmp_path: Path) -> None:
    """Whatever its depth, its transparency and its words for its colours: as arithmetic, and as a browser, has it."""
    report = Report()
    for called, say in {**PROFILES, **OF_PNG}.items():
        for name, samples, depth, colour_type, chunks, values, alpha, kind in png_cases(say):
            content = png(samples, depth, colour_type, chunks)
            wrong = check(tmp_path / "a.png", content, say.of(values, kind), alpha)
            report.note(f"{name}, {called}", wrong)
    assert report.cases > 500
    assert report.wrong == {}


def test_every_kind_of_tiff_shows_what_its_samples_mean(tmp_path: Path) -> None:
    """Grey of 1 to 16 bits, black or white at zero, RGB, alpha, profiles, packed or not, in both byte orders."""
    report = Report()
    for order, packing, (called, say) in product("<>", (1, 8), PROFILES.items()):
        tags = {} if say.icc is None else {34675: say.icc}
        for depth, white_is_zero in product((1, 2, 4, 8, 12, 16), (False, True)):
            grey = ramp(depth, 1)
            values = np.repeat(grey / ((1 << depth) - 1), 3, axis=-1)
            content = tiff(
                (grey, depth, {**tags, 262: 0 if white_is_zero else 1}), order=order, packing=packing
            )
            expected = say.of(1 - values if white_is_zero else values, "grey")
            wrong = check(tmp_path / "a.tif", content, expected, np.full(grey.shape[:2], 255.0))
            report.note(f"grey {depth}, white is zero: {white_is_zero}, {order}{packing}, {called}", wrong)
        for depth, channels in ((8, 2), (8, 3), (8, 4), (16, 3), (16, 4)):
            most, samples = (1 << depth) - 1, ramp(depth, channels)
            has_alpha = channels in (2, 4)
            extra = {338: 2} if has_alpha else {}
            kind = "grey" if channels < 3 else "colour"
            content = tiff(
                (samples, depth, {**tags, **extra, 262: 1 if channels < 3 else 2}),
                order=order,
                packing=packing,
            )
            values = samples[..., :3] if channels > 2 else np.repeat(samples[..., :1], 3, axis=-1)
            alpha = 255 * samples[..., -1] / most if has_alpha else np.full(samples.shape[:2], 255.0)
            wrong = check(tmp_path / "a.tif", content, say.of(values / most, kind), alpha)
            report.note(f"{channels} channels of {depth}, {order}{packing}, {called}", wrong)
    assert report.cases > 300
    assert report.wrong == {}


@pytest.mark.parametrize("kind", ["grey", "colour"])
@pytest.mark.parametrize("called", PROFILES)
def test_profiles_count_alike_in_every_container(tmp_path: Path, called: str, kind: str) -> None:
    """JPEG, WebP and AVIF, too, are shown by what the profile holds, whatever its name."""
    say, mode = PROFILES[called], {"grey": "L", "colour": "RGB"}[kind]
    value = 100 if kind == "grey" else (180, 100, 60)
    samples = np.broadcast_to(np.array(value), (1, 3)) / 255
    # WebP and AVIF have no grey: what is grey is stored as RGB.
    for suffix, options in {
        "jpg": {"quality": 100, "subsampling": 0},
        "webp": {"lossless": True},
        "avif": {"quality": 100, "subsampling": "4:4:4"},
    }.items():
        if suffix != "jpg" and kind == "grey":
            continue
        path = tmp_path / f"a.{suffix}"
        Image.new(mode, (16, 16), value).save(path, icc_profile=say.icc, **options)
        assert np.abs(shown(path)[8, 8, :3] - say.of(samples, kind)[0]).max() <= 3, suffix


def avif(primaries: int, transfer: int) -> bytes:
    """Return a picture of (200, 100, 50) whose file says what colours these are."""
    content = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 100, 50)).save(content, "avif", quality=100, subsampling="4:4:4")
    before, found, after = content.getvalue().partition(b"colrnclx")
    assert found
    return before + found + struct.pack(">HH", primaries, transfer) + after[4:]


@pytest.mark.parametrize(
    ("numbers", "means"),
    [
        ((1, 13), Colours()),
        ((2, 2), Colours()),
        ((1, 1), Colours()),
        ((12, 13), Colours(xy=P3_XY)),
        ((9, 13), Colours(xy=BT2020_XY)),
        ((12, 8), Colours(xy=P3_XY, curve=power(1))),
    ],
)
def test_an_avif_that_names_its_colours_by_number_is_converted(
    tmp_path: Path, numbers: tuple[int, int], means: Colours
) -> None:
    """Wide gamut without an ICC profile does not come out flat."""
    (tmp_path / "a.avif").write_bytes(avif(*numbers))
    expected = means.of(np.array(((200, 100, 50),)) / 255, "colour")[0]
    assert np.abs(shown(tmp_path / "a.avif")[32, 32, :3] - expected).max() <= 4


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("suffix", ["png", "avif"])
def test_hdr_is_brought_into_range_and_its_row_says_so(
    tmp_path: Path, transfer: int, name: str, suffix: str
) -> None:
    """A standard screen has no such light: greys are as in a browser, and who needs more is told."""
    if suffix == "avif":
        content = avif(9, transfer)
    else:
        greys = np.repeat(np.array([[[32], [64], [128], [160], [192]]]), 3, axis=-1)
        content = png(greys, 8, COLOUR, (cicp(9, transfer),))
    (tmp_path / f"a.{suffix}").write_bytes(content)
    (picture,) = find_pictures(tmp_path).readable
    assert f"HDR ({name})" in str(picture.note)
    if suffix == "png":  # as Chromium 150 shows them
        expected = {16: (5, 30, 132, 213, 255), 18: (14, 43, 99, 135, 189)}[transfer]
        assert np.abs(shown(tmp_path / "a.png")[0, :, 0] - expected).max() <= 2
