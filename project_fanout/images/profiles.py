"""ICC profiles for what files say of their colours in other words: PNG's gAMA and cICP, AVIF's nclx."""

import io
import math
import struct
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

from PIL import ImageCms

#: x and y of white, red, green and blue.
Chromaticities = tuple[float, ...]
Vector = tuple[float, float, float]

_D65, _C, _D50 = (0.3127, 0.3290), (0.310, 0.316), (0.9642, 1.0, 0.8249)
_SRGB = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_SMPTE_170M = (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)
#: By ColourPrimaries of ITU-T H.273; any other number is taken as sRGB, as browsers do.
_PRIMARIES: dict[int, Chromaticities] = {
    4: (*_C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: _SMPTE_170M,
    7: _SMPTE_170M,
    8: (*_C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    10: (1 / 3, 1 / 3, 1, 0, 0, 1, 0, 0),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
_PQ, _HLG = 16, 18
_BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
# As Chromium shows HDR on a screen that has none: nits, and the share of white that they get there. In between it goes
# by the logarithm; below the first it is in proportion, and from the last on all is white.
_TONES = ((180.0, 0.4433), (316.2, 0.6654), (567.1, 0.8469), (1000.0, 1.0))
# An 8-bit sample falls on an entry of its own.
_ENTRIES = 256


def of_gamma(gamma: float, primaries: Chromaticities | None, *, grey: bool) -> bytes:
    """Return the profile of samples that are light to the power of *gamma*."""
    return _profile(lambda value: float(value ** (1 / gamma)), primaries or _SRGB, grey=grey)


def of_code_points(
    primaries: int, transfer: int, *, grey: bool = False, video_is_srgb: bool = False
) -> bytes | None:
    """Return the profile of two code points of ITU-T H.273, None for sRGB.

    Args:
        primaries: the number of its ColourPrimaries.
        transfer: of its TransferCharacteristics.
        grey: whether the pixels have no colour.
        video_is_srgb: whether the curves of video are taken as that of sRGB, as browsers do in AVIF but not in PNG.
    """
    if video_is_srgb and transfer in _VIDEO:
        transfer = 13
    if primaries not in _PRIMARIES and transfer not in _CURVES:
        return None
    return _profile(_CURVES.get(transfer, _from_srgb), _PRIMARIES.get(primaries, _SRGB), grey=grey)


def note_on(transfer: int) -> str | None:
    """Say of a TransferCharacteristics of ITU-T H.273 what a rendition cannot keep, None for nothing."""
    if transfer not in (_PQ, _HLG):
        return None
    name = "PQ" if transfer == _PQ else "HLG"
    return f"HDR ({name}): brought into the range of a standard screen, so bright colours may differ from a browser's"


def space_of(profile: bytes) -> str | None:
    """Return the colour space that an ICC profile is for: RGB, GRAY, CMYK, LAB or another; None for a damaged one."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return str(opened.profile.xcolor_space).strip().upper()


def _from_srgb(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _power(exponent: float, scale: float = 1.0) -> Callable[[float], float]:
    return lambda value: min(1.0, scale * value**exponent)


def _from_240m(value: float) -> float:
    return value / 4 if value < 0.0913 else ((value + 0.1115) / 1.1115) ** (1 / 0.45)


def _from_pq(value: float) -> float:
    root = value ** (32 / 2523)
    return _toned(10_000 * (max(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root)) ** (16384 / 2610))


def _from_hlg(value: float) -> float:
    scene = value**2 / 3 if value <= 0.5 else (math.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return _toned(1000 * scene**1.2)


def _toned(nits: float) -> float:
    if nits <= _TONES[0][0]:
        return nits * _TONES[0][1] / _TONES[0][0]
    if nits >= _TONES[-1][0]:
        return 1.0
    place = bisect_left([each for each, _ in _TONES], nits)
    (low, dark), (high, bright) = _TONES[place - 1], _TONES[place]
    return dark + (bright - dark) * math.log(nits / low) / math.log(high / low)


_VIDEO = (1, 6, 11, 12, 14, 15)
#: From a sample to light, by TransferCharacteristics of ITU-T H.273; any other number is taken as sRGB.
_CURVES: dict[int, Callable[[float], float]] = {
    **dict.fromkeys((1, 6, 11, 14, 15), _power(2.4)),
    4: _power(2.2),
    5: _power(2.8),
    7: _from_240m,
    8: _power(1.0),
    _PQ: _from_pq,
    17: _power(2.6, 52.37 / 48),
    _HLG: _from_hlg,
}


@lru_cache(maxsize=16)
def _profile(curve: Callable[[float], float], primaries: Chromaticities, *, grey: bool) -> bytes:
    light = [curve(entry / (_ENTRIES - 1)) for entry in range(_ENTRIES)]
    table = struct.pack(f">{_ENTRIES}H", *(round(65535 * min(1.0, max(0.0, each))) for each in light))
    tone = b"curv" + bytes(4) + struct.pack(">I", _ENTRIES) + table
    text = b"colours of the file"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + bytes(79),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": _xyz(_D50),
    }
    if grey:
        tags[b"kTRC"] = tone
    else:
        columns = _adapted(primaries)
        tags |= {
            name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)
        }
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), tone)
    return _file(b"GRAY" if grey else b"RGB ", tags)


def _file(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Return an ICC profile of version 2.4 for a display."""
    first = 128 + 4 + 12 * len(tags)
    padded = [content + bytes(-len(content) % 4) for content in tags.values()]
    starts = [first]
    for content in padded:
        starts.append(starts[-1] + len(content))
    index = b"".join(
        name + struct.pack(">II", start, end - start)
        for name, (start, end) in zip(tags, pairwise(starts), strict=True)
    )
    header = struct.pack(">I4xI4s4s4s", starts[-1], 0x02400000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _xyz(_D50)[8:]
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + index + b"".join(padded)


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _adapted(chromaticities: Chromaticities) -> tuple[Vector, ...]:
    """Return XYZ of the three primaries under D50, as ICC profiles have them.

    Raises:
        ZeroDivisionError: the primaries span no space.
    """
    white, *primaries = (
        (x, y, 1 - x - y) for x, y in zip(chromaticities[::2], chromaticities[1::2], strict=True)
    )
    white = (white[0] / white[1], 1.0, white[2] / white[1])
    amounts = _solved(primaries, white)
    columns = [
        tuple(part * amount for part in primary) for primary, amount in zip(primaries, amounts, strict=True)
    ]
    cones = [_times(_BRADFORD, wanted) for wanted in (white, _D50)]
    rows = tuple(zip(*_BRADFORD, strict=True))
    adapted = []
    for column in columns:
        cone = _times(_BRADFORD, column)
        seen = tuple(part * to / by for part, by, to in zip(cone, *cones, strict=True))
        adapted.append(_solved(rows, seen))
    return tuple(adapted)


def _times(rows: Sequence[Sequence[float]], vector: Sequence[float]) -> Vector:
    x, y, z = (math.fsum(a * b for a, b in zip(row, vector, strict=True)) for row in rows)
    return x, y, z


def _solved(columns: Sequence[Sequence[float]], wanted: Sequence[float]) -> Vector:
    """Return how much of each of three *columns* makes up *wanted*, by Cramer's rule."""
    whole = _determinant(*columns)
    x, y, z = (
        _determinant(*(wanted if other == place else column for other, column in enumerate(columns))) / whole
        for place in range(3)
    )
    return x, y, z


def _determinant(a: Sequence[float], b: Sequence[float], c: Sequence[float]) -> float:
    return (
        a[0] * (b[1] * c[2] - b[2] * c[1])
        - b[0] * (a[1] * c[2] - a[2] * c[1])
        + c[0] * (a[1] * b[2] - a[2] * b[1])
    )
