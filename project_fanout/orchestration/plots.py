"""Plots in an event's metadata: pictures small enough for the UI to show them where they stand."""

from collections.abc import Iterable
from itertools import groupby

import dagster as dg
import numpy as np

from project_fanout.common import duration_text
from project_fanout.orchestration.usage import Usage

#: Markdown that is longer the UI hides behind a link.
LONGEST_SHOWN = 999

# As wide as a value on an asset's page in a window of 1440 pixels.
_WIDTH, _LEFT = 372, 52
_PLOT = _WIDTH - _LEFT
_LANE, _BARS_HEIGHT = 16, 60
# More workers than these are drawn as one lane: how many of them were busy.
_MOST_LANES = 8
# Parts that a lane may have, each a divisor of `usage.PARTS`; the most that fit are taken.
_PARTS = (120, 80, 60, 48, 40, 30, 24, 20, 16, 15)
_BARS = 32
# Units that take this much longer than others do not fit on one linear scale.
_WIDE = 20
# It follows the system's light or dark, as the UI does unless somebody has told it otherwise: blue and red are
# readable on both.
_STYLE = (
    "text{font:10px sans-serif;fill:#666}path{fill:#5b8def}.f{stroke:#e5484d;stroke-width:4}"
    "@media(prefers-color-scheme:dark){text{fill:#aaa}}"
)


def timeline(usage: Usage) -> dg.MarkdownMetadataValue:
    """Return the workers' timeline: a lane per worker, the fuller the busier; red where a unit did not succeed.

    Where the lanes of many do not fit, it has one lane, for how many of them were busy.
    """
    picture = ""
    ways = (False, True) if len(usage.workers) <= _MOST_LANES else (True,)
    for is_one_lane in ways:
        for parts in _PARTS:
            picture = _lanes(usage, parts, is_one_lane=is_one_lane)
            if len(picture) <= LONGEST_SHOWN:
                return dg.MetadataValue.md(picture)
    return dg.MetadataValue.md(picture)


def _lanes(usage: Usage, parts: int, *, is_one_lane: bool) -> str:
    workers = len(usage.workers)
    busy = usage.busy.reshape(workers, parts, -1).mean(axis=2)
    failed = usage.failed.reshape(workers, parts, -1).sum(axis=2) > 0
    names, high = [_short(each) for each in usage.workers], _LANE
    if is_one_lane:
        busy, failed = busy.sum(axis=0, keepdims=True), failed.any(axis=0, keepdims=True)
        names, high = [f"{workers} workers" if workers > 1 else "1 worker"], 3 * _LANE
    heights = np.rint(busy / max(float(busy.max()), 1e-9) * high).astype("int64")
    drawn = columns = marks = ""
    for lane, name in enumerate(names):
        foot = (lane + 1) * (high + 4) - 4
        drawn += _text(0, foot - high / 2 + 4, name)
        columns += _columns(heights[lane].tolist(), foot)
        marks += _marks(failed[lane].tolist(), foot - 2)
    height = len(names) * (high + 4) + 12
    drawn += _plotted(columns, marks, _PLOT / parts) + _scale(height - 2, "0", _seconds(usage.wall_s))
    return _picture("timeline of the workers", height, drawn)


def distribution(seconds: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> dg.MarkdownMetadataValue:
    """Return how many units took how long, as a histogram; on a logarithmic scale where some take very long.

    Args:
        seconds: of each unit, the shortest first; one at least.
    """
    low, high = max(float(seconds[0]), 1e-6), max(float(seconds[-1]), 2e-6)
    is_wide = high / low > _WIDE
    edges = np.geomspace(low, high, _BARS + 1) if is_wide else np.linspace(0.0, high, _BARS + 1)
    counts, _ = np.histogram(np.clip(seconds, edges[0], edges[-1]), edges)
    most = max(1, int(counts.max()))
    # What there is one of is still seen.
    heights = np.ceil(counts / most * _BARS_HEIGHT).astype("int64").tolist()
    drawn = (
        _text(0, 10, f"{most:,}")
        + _text(0, 22, "unit" if most == 1 else "units")
        + _plotted(_columns(heights, _BARS_HEIGHT), "", _PLOT / _BARS)
        + _scale(
            _BARS_HEIGHT + 12,
            _seconds(float(edges[0])),
            _seconds(float(edges[-1])),
            "log scale" if is_wide else "",
        )
    )
    return dg.MetadataValue.md(_picture("distribution of unit seconds", _BARS_HEIGHT + 14, drawn))


def _picture(name: str, height: float, drawn: str) -> str:
    size = f"width='{_WIDTH}' height='{height:g}'"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' {size}><style>{_STYLE}</style>{drawn}</svg>"
    # Not in base64, which would take a third more.
    for character in "%#<>":
        svg = svg.replace(character, f"%{ord(character):X}")
    return f"![{name}](<data:image/svg+xml,{svg}>)"


def _plotted(columns: str, marks: str, width: float) -> str:
    """Return what `_columns` and `_marks` have drawn, with so many pixels for a column."""
    drawn = (f"<path d='{columns}'/>" if columns else "") + (
        f"<path class='f' d='{marks}'/>" if marks else ""
    )
    return f"<g transform='translate({_LEFT})scale({width:.4g} 1)'>{drawn}</g>"


def _columns(heights: Iterable[int], foot: int) -> str:
    """Return columns side by side that stand at *foot*, each of its height; those that are equal are drawn as one."""
    drawn = "".join(f"V{foot - height}h{len(list(alike))}" for height, alike in groupby(heights))
    return f"M0 {foot}{drawn}V{foot}z"


def _marks(wanted: Iterable[bool], foot: int) -> str:
    """Return a line at *foot* below each column that is wanted."""
    drawn, place = "", 0
    for is_wanted, alike in groupby(wanted):
        count = len(list(alike))
        drawn += f"M{place} {foot}h{count}" if is_wanted else ""
        place += count
    return drawn


def _scale(y: float, start: str, end: str, what: str = "") -> str:
    drawn = _text(_LEFT, y, start) + _text(_WIDTH, y, end, "end")
    return drawn + (_text(_LEFT + _PLOT / 2, y, what, "middle") if what else "")


def _text(x: float, y: float, text: str, anchor: str = "") -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&#39;")
    where = f" text-anchor='{anchor}'" if anchor else ""
    return f"<text x='{x:g}' y='{y:g}'{where}>{escaped}</text>"


def _short(worker: str) -> str:
    return f"worker {worker}" if worker.isdigit() else worker[-8:]


def _seconds(seconds: float) -> str:
    if seconds >= 60:  # a minute
        return duration_text(seconds)
    if seconds == 0 or seconds >= 1:
        return f"{seconds:.3g} s"
    # Rounded before the unit is chosen: 999.96 us are 1 ms.
    return f"{seconds * 1e3:.3g} ms" if seconds >= 0.9995e-3 else f"{seconds * 1e6:.3g} µs"  # likewise
