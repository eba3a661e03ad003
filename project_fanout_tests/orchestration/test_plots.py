"""The plots on an asset's page, and the figures that they show."""

import random
import re
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import dagster as dg
import numpy as np
import pytest

from project_fanout.engine.ledger.run_counts import Span
from project_fanout.orchestration.plots import LONGEST_SHOWN, distribution, timeline
from project_fanout.orchestration.usage import PARTS, Usage

SVG = "{http://www.w3.org/2000/svg}"


def picture(plot: dg.MarkdownMetadataValue) -> ET.Element:
    """Return the picture that the Markdown holds, which has to be short enough to be shown at once."""
    text = plot.value or ""
    assert len(text) <= LONGEST_SHOWN
    found = re.fullmatch(r"!\[[a-z ]+\]\(<data:image/svg\+xml,([^<>\n]+)>\)", text)
    assert found, text
    assert "#" not in found[1]
    return ET.fromstring(unquote(found[1]))  # noqa: S314  # of our own making


def texts(plot: dg.MarkdownMetadataValue) -> list[str]:
    """Return what is written in the picture."""
    return [each.text or "" for each in picture(plot).iter(f"{SVG}text")]


def spans_of(workers: int, units: int, seed: int = 1, *, names: str = "{}") -> list[Span]:
    """Return what *workers* do who run *units* each, one after the other, with pauses in between."""
    chance, found = random.Random(seed), []
    for worker in range(workers):
        at = 1000.0 + chance.random()
        for _ in range(units):
            end = at + chance.expovariate(10)
            found.append(Span(names.format(worker), at, end, chance.random() > 0.1))
            at = end + chance.expovariate(30)
    return found


@pytest.mark.parametrize(
    ("workers", "units"), [(1, 1), (1, 4000), (2, 40), (3, 1000), (8, 300), (9, 50), (64, 100)]
)
def test_the_timeline_is_shown_where_it_stands(workers: int, units: int) -> None:
    """However many workers, units and failures there are; each of a few workers is named."""
    usage = Usage.of(spans_of(workers, units), workers)
    assert usage is not None
    written = texts(timeline(usage))
    assert written[-2] == "0"
    assert written[-1].endswith(("s", "min"))
    by_name = [f"worker {each}" for each in range(workers)]
    assert written[:-2] in ([by_name] if workers <= 3 else [by_name, [f"{workers} workers"]])


def test_a_worker_may_have_any_name() -> None:
    """As those of a cluster have."""
    usage = Usage.of(spans_of(2, 5, names="a<&'#%>\"{}"), 2)
    assert usage is not None
    assert len(texts(timeline(usage))) == 4


@pytest.mark.parametrize(
    ("seconds", "ends"),
    [
        ([0.5], ("0 s", "500 ms")),
        ([0.0], ("0 s", "2 µs")),
        ([0.010, 0.012, 0.02], ("0 s", "20 ms")),
        ([0.0005, 0.01, 90.0], ("500 µs", "1 min 30 s")),
        ([0.0009999, 0.001], ("0 s", "1 ms")),
    ],
)
def test_the_distribution_says_from_where_to_where_it_goes(
    seconds: list[float], ends: tuple[str, str]
) -> None:
    """On a linear scale from 0, on a logarithmic one where some units take very much longer than others."""
    written = texts(distribution(np.array(seconds)))
    assert (written[2], written[3]) == ends
    assert ("log scale" in written) == (seconds[-1] > 20 * max(seconds[0], 1e-6))


def test_every_unit_is_in_the_distribution() -> None:
    """The tallest bar is as many units as it says."""
    assert texts(distribution(np.sort(np.array([0.1] * 1234 + [0.2] * 99))))[0] == "1,234"


@pytest.mark.parametrize("seed", range(20))
def test_the_parts_of_a_timeline_add_up(seed: int) -> None:
    """Where units end in the part in which they began, and where they last for many parts."""
    spans = spans_of(3, random.Random(seed).choice([1, 3, 50, 900]), seed)
    usage = Usage.of(spans, 3)
    assert usage is not None
    busy_s = sum(span.ended_at - span.began_at for span in spans)
    assert usage.busy_s == pytest.approx(busy_s)
    assert usage.busy.sum() * usage.wall_s / PARTS == pytest.approx(busy_s)
    assert usage.failed.sum() == sum(not span.succeeded for span in spans)
    assert usage.busy.max() <= 1 + 1e-9
    assert usage.efficiency == pytest.approx(busy_s / 3 / usage.wall_s)


def test_efficiency_is_not_told_where_more_ran_than_there_are_places_for() -> None:
    """As under an executor whose steps are processes with a pool each; nor where nobody knows how many there are."""
    spans = [Span("0", 0.0, 1.0, True), Span("0", 0.0, 1.0, True)]
    for places in (0, 1):
        usage = Usage.of(spans, places)
        assert usage is not None
        assert usage.efficiency is None
    assert Usage.of([], 2) is None
