"""The page of a run's report, as a browser shows it."""

import itertools
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from project_fanout.report.page import page_html
from project_fanout_tests.e2e.conftest import BROWSERS, SWITCHES

STATUSES = ["succeeded", "failed", "timed_out", "crashed"]
RUN, EARLIER = "5f3c2a91-7a53-4d0e-9a44-0c1c2f6f5d11", "b7718e02-1111-4222-8333-944445555666"
ERRORS = [
    "HTTPError: 503 Server Error: Service Unavailable for url: https://example.org/pages",
    "UnitTimeout: the attempt took longer than 30 s",
    "WorkerCrashed: the worker ended with signal 9 (SIGKILL), perhaps for want of memory",
]
STAGES = {"fetch": 2.2, "parse": 0.7, "embed": 5.0}
COLUMNS = [
    "record",
    "stage",
    "key",
    "status",
    "attempts",
    "start",
    "seconds",
    "last",
    "cpu",
    "mb",
    "worker",
    "error",
    "run",
]
TWICE = 2  # the attempts of what failed
HOSTILE = [
    "</script><script>document.title = 'broken'</script>",
    "<img src=x onerror=\"document.title = 'broken'\">",
    "quotes \" and ' and `${backticks}`",
    "C:\\new\\u0041\\",
    "two\nlines\u2028and\u2029more",
    "Отчёт о прогоне № 7",
    "\ud83d alone",
    "&amp; /*DATA*/ /*TITLE*/ <!--",
    "long " * 60,
    "",
]


def make_report(records: int = 40, per_record: int = 20, seed: int = 7, **changes: Any) -> dict[str, Any]:
    """Return a report of *records* x *per_record* units on two workers with four places each.

    Every 66th unit has failed, in each stage for a cause of its own; every 29th other is reused from an earlier run.
    """
    rng = random.Random(seed)
    names = list(STAGES)
    units: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    free = [0.4 + place * 0.05 for place in range(8)]
    for number in range(records * per_record):
        record, place = number // per_record, min(range(8), key=free.__getitem__)
        stage = number % per_record * len(names) // per_record
        seconds = rng.lognormvariate(0, 0.55) * STAGES[names[stage]] * (9 if rng.random() < 0.004 else 1)
        cause = stage if number % 66 == 65 else None
        reused = number % 29 == 28 and cause is None
        seconds = 30.0 if cause == 1 else seconds
        row = {
            "record": record,
            "stage": stage,
            "key": f"page-{number % per_record}",
            "status": 0 if cause is None else cause + 1,
            "attempts": TWICE if cause is not None or number % 41 == 40 else 1,
            "start": None if reused else round(free[place], 3),
            "seconds": round(seconds, 4),
            "last": round(seconds, 4),
            "cpu": round(seconds * rng.uniform(0.1, 0.6), 4),
            "mb": round(rng.uniform(90, 420), 1),
            "worker": None if reused else place // 4,
            "error": cause,
            "run": int(reused),
        }
        for name, value in row.items():
            units[name].append(value)
        if not reused:
            free[place] += seconds + 0.01
    details = {
        str(number): {
            "input": f'{{"url": "https://example.org/{number}"}}',
            "result": f'{{"words": {number}}}',
            "log": [f"reading page {number}", "INFO done"],
            "attempts": [{"status": "succeeded", "seconds": 1.5, "error": None}],
        }
        for number in range(0, records * per_record, 2)
    }
    return {
        "asset": "page_embeddings",
        "partition": "2026-11-26",
        "run": RUN,
        "runs": [RUN, EARLIER],
        "began": 1_795_762_361.0,
        "ended": 1_795_762_361.0 + max(free) + 1.5,
        "is_over": True,
        "workers": 2,
        "places": 8,
        "found": records * per_record,
        "records": [f"site-{number}" for number in range(records)],
        "stages": names,
        "statuses": STATUSES,
        "errors": ERRORS,
        "units": units,
        "details": details,
    } | changes


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium with a fresh profile."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser ({', '.join(BROWSERS)}): sudo apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page as large as a laptop's screen, which may neither fail in its script nor fetch anything but its file."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(30_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: problems.append(request.url))
    yield page
    context.close()
    assert [each for each in problems if not each.endswith("/report.html")] == []


@pytest.fixture
def show(page: Page, tmp_path: Path) -> Callable[[dict[str, Any]], Page]:
    """Write the page of a report to a file and open it."""

    def opened(report: dict[str, Any]) -> Page:
        path = tmp_path / "report.html"
        path.write_text(page_html(report), encoding="utf-8")
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-drawn=true]")
        return page

    return opened


Show = Callable[[dict[str, Any]], Page]


def rows(page: Page) -> Locator:
    """Return the rows of the table of units that are in the document."""
    return page.locator("#units [data-row]")


def column(page: Page, name: str) -> list[str]:
    """Return the first texts of a column, from the top of the table."""
    names = page.locator("#units [role=columnheader]").all_inner_texts()
    cells = rows(page).locator(f"[role=gridcell]:nth-child({names.index(name) + 1})")
    return cells.all_inner_texts()


def head(page: Page, name: str) -> Locator:
    """Return the head of a column."""
    return page.get_by_role("columnheader", name=name)


def test_a_report_says_how_a_run_went(show: Show) -> None:
    """From one file, without network: what ran, when, how much of it failed, was reused and was retried, and why."""
    page = show(make_report())
    expect(page.get_by_role("heading", level=1)).to_have_text("page_embeddings")
    assert page.title() == "page_embeddings - 2026-11-26 - 5f3c2a91"
    expect(page.locator("#run")).to_have_attribute("title", RUN)
    expect(page.locator("#state")).to_have_text("Ended")
    tiles = dict(each.split("\n")[:2] for each in page.locator(".tile").all_inner_texts())
    assert (tiles["Units done"], tiles["Failed"], tiles["Reused"], tiles["Retried"]) == (
        "800",
        "12",
        "27",
        "31",
    )
    assert len(page.locator("#causes tbody tr").all()) == len(ERRORS)
    expect(page.locator("#left-out")).to_have_text("Not drawn: 27 reused.")
    expect(page.locator("#tail")).to_contain_text("fewer than all 2 workers were busy")
    expect(page.locator("#simulated")).to_contain_text("2, as in this run")


def test_units_are_sorted_by_a_click(show: Show) -> None:
    """By any column, up and down; what has no value comes last either way, and what is equal keeps its order."""
    page = show(make_report())
    head(page, "Seconds").get_by_role("button").click()
    expect(head(page, "Seconds")).to_have_attribute("aria-sort", "ascending")
    shown = [float(each) for each in column(page, "Seconds")]
    assert shown == sorted(shown)
    head(page, "Seconds").get_by_role("button").click()
    expect(head(page, "Seconds")).to_have_attribute("aria-sort", "descending")
    shown = [float(each) for each in column(page, "Seconds")]
    assert shown == sorted(shown, reverse=True)
    head(page, "Unit").get_by_role("button").click()
    head(page, "Record").get_by_role("button").click()
    expect(head(page, "Seconds")).to_have_attribute("aria-sort", "none")
    assert column(page, "Unit")[:11] == [f"page-{number}" for number in range(11)]  # page-10 after page-9
    for _ in range(2):
        head(page, "Worker").get_by_role("button").click()
        assert column(page, "Worker")[0] in {"0", "1"}
        page.locator("#grid").press("End")
        assert column(page, "Worker")[-1] == ""
        page.locator("#grid").press("Home")


def test_units_are_filtered(show: Show) -> None:
    """By text in record, unit or error, by status and by stage; how many are shown is said."""
    page = show(make_report())
    shown = page.locator("#shown")
    expect(shown).to_have_text("800 units")
    page.locator("#filter").fill("SITE-39")
    expect(shown).to_have_text("20 of 800 units")
    page.locator("#stage").select_option("embed")
    expect(shown).to_have_text("6 of 800 units")
    page.locator("#stage").select_option("all")
    page.locator("#filter").fill("sigkill")
    expect(shown).to_have_text("3 of 800 units")
    assert column(page, "Status") == ["crashed"] * 3
    page.locator("#filter").fill("no such thing")
    expect(page.locator("#rows")).to_have_text("No unit matches.")
    page.locator("#filter").fill("")
    page.locator("#status").select_option("reused")
    expect(shown).to_have_text("27 of 800 units")


def test_a_unit_is_opened(show: Show) -> None:
    """With its input, its result, its log, its attempts and the run it was reused from; Escape closes it."""
    page = show(make_report())
    page.locator("[data-row='4']").click()
    panel = page.get_by_role("dialog")
    expect(panel.locator("h2")).to_have_text("page-4")
    expect(page.locator("#detail-input")).to_have_text('{"url": "https://example.org/4"}')
    expect(page.locator("#detail-result")).to_have_text('{"words": 4}')
    expect(page.locator("#detail-log")).to_have_text("reading page 4\nINFO done")
    expect(panel.locator("tbody tr")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    expect(panel.locator("h2")).to_have_text("page-5")
    expect(panel).to_contain_text("not in this report")
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    page.locator("#status").select_option("reused")
    page.locator("#grid").press("Home")
    page.keyboard.press("Enter")
    expect(panel).to_contain_text(f"Result reused from\n{EARLIER}", use_inner_text=True)


def test_a_cause_shows_its_units(show: Show) -> None:
    """A click on why units failed leaves these in the table, and a click on the cause there shows all again."""
    page = show(make_report())
    cause = page.locator("#causes tbody tr").filter(has_text="SIGKILL")
    cause.click()
    expect(page.locator("#shown")).to_have_text("3 of 800 units")
    assert column(page, "Error") == [ERRORS[2]] * 3
    page.locator("#cause").click()
    expect(page.locator("#shown")).to_have_text("800 units")
    cause.get_by_role("button").press("Enter")
    expect(page.locator("#shown")).to_have_text("3 of 800 units")


def test_errors_that_name_their_unit_are_one_cause(show: Show) -> None:
    """Errors that differ in an address or a number are told together, but not a 404 with a 503."""
    report = make_report()
    errors = [f"HTTPError: {404 if n % 2 else 503} for url: https://example.org/{n}" for n in range(60)]
    report["units"]["status"][:60] = [1] * 60
    report["units"]["error"][:60] = range(60)
    report["units"]["status"][60:] = [0] * 740
    report["units"]["error"][60:] = [None] * 740
    page = show(report | {"errors": [each.replace("HTTPError:", "HTTP") for each in errors]})
    expect(page.locator("#causes tbody tr")).to_have_count(6)  # two in each of three stages
    expect(page.locator("#causes tbody tr").first).to_contain_text("similar texts")


def test_a_unit_is_opened_from_the_timeline(show: Show) -> None:
    """Where the pointer is on a unit its name is shown, and a click opens it."""
    page = show(make_report(records=1, per_record=20))
    lanes = page.locator("#lanes")
    box = lanes.bounding_box()
    assert box is not None
    for x in range(200, int(box["width"]), 25):
        lanes.hover(position={"x": x, "y": 74})
        if page.locator("#tip").is_visible():
            break
    name = page.locator("#tip b").inner_text()
    page.mouse.down()
    page.mouse.up()
    expect(page.get_by_role("dialog").locator("h2")).to_have_text(name)


def test_the_timeline_is_zoomed(show: Show) -> None:
    """Dragging over a part of it shows this part alone, and a click shows all of it again."""
    page = show(make_report())
    lanes, whole = page.locator("#lanes"), page.locator("#whole")
    picture = "document.getElementById('lanes').toDataURL()"
    before = page.evaluate(picture)
    expect(whole).to_be_hidden()
    lanes.hover(position={"x": 300, "y": 100})
    page.mouse.down()
    lanes.hover(position={"x": 500, "y": 100})
    page.mouse.up()
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.evaluate(picture) != before
    whole.click()
    expect(whole).to_be_hidden()
    assert page.evaluate(picture) == before


def test_any_text_is_shown_as_text(show: Show) -> None:
    """Whatever names, errors, inputs, results and logs hold is text: it is no HTML and ends no script."""
    count = len(HOSTILE)
    report = make_report(records=count, per_record=1)
    report["units"] |= {
        "key": HOSTILE,
        "status": [1] * count,
        "error": list(range(count)),
        "run": [0] * count,
    }
    report |= {"asset": HOSTILE[0], "partition": HOSTILE[7], "records": HOSTILE, "errors": HOSTILE}
    report |= {"stages": HOSTILE[1:4], "runs": [RUN, HOSTILE[0]]}
    parts = {"input": HOSTILE[0], "result": HOSTILE[1], "log": HOSTILE}
    attempts = [{"status": "failed", "seconds": 1.0, "error": each} for each in HOSTILE]
    report["details"] = {str(row): parts | {"attempts": attempts} for row in range(count)}
    page = show(report)
    assert page.title().startswith(HOSTILE[0])
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE[0])
    expect(page.locator("img")).to_have_count(0)
    for row, text in enumerate(HOSTILE):
        page.locator(f"[data-row='{row}']").click()
        assert page.locator("#detail h2").text_content() == text
        assert page.locator("#detail-error").text_content() == text
        assert page.locator("#detail-log").text_content() == "\n".join(HOSTILE)
        page.keyboard.press("Escape")
    page.locator("#filter").fill("C:\\new")
    expect(page.locator("#shown")).to_have_text("1 of 10 units")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(
    ("records", "changes", "left_out", "said"),
    [
        (0, {"runs": [RUN]}, ["timeline", "durations", "failures", "units"], "This run found no units."),
        (0, {"found": 9, "is_over": False}, ["workers", "units"], "None of the 9 units found so far"),
        (1, {"found": 1, "errors": []}, ["durations", "failures", "stragglers", "workers"], "of 1 found"),
        (3, {"errors": [], "found": 5}, ["failures"], "2 not done"),
    ],
)
def test_a_small_run_has_a_sensible_report(
    show: Show, records: int, changes: dict[str, Any], left_out: list[str], said: str
) -> None:
    """No unit, none yet, one, a few without a failure: sections that have nothing to say are left out."""
    page = show(make_report(records=records, per_record=1, **changes))
    expect(page.locator("#overview")).to_contain_text(said)
    for section in left_out:
        expect(page.locator(f"#{section}")).to_be_hidden()
    assert not re.search("NaN|undefined|Infinity|null", page.locator("main").inner_text())


def test_a_run_that_reused_everything_says_so(show: Show) -> None:
    """What did not run again is in no timeline; its seconds are those that the earlier run measured."""
    report = make_report(records=5)
    report["units"] |= {"run": [1] * 100, "start": [None] * 100, "worker": [None] * 100}
    report["units"] |= {"status": [0] * 100, "error": [None] * 100, "cpu": [None] * 100, "mb": [None] * 100}
    page = show(report)
    for section in ("timeline", "failures", "stragglers", "workers"):
        expect(page.locator(f"#{section}")).to_be_hidden()
    expect(page.locator("#durations-says")).to_contain_text("this run reused every result")
    expect(page.locator("#overview")).to_contain_text("b7718e02 (100 units)")
    assert not re.search("NaN|undefined|Infinity|null", page.locator("main").inner_text())


def test_a_report_is_readable_in_light_and_dark(show: Show) -> None:
    """On a wide and a narrow screen, in light and in dark, with nothing but the table that scrolls sideways."""
    page = show(make_report())
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme, width in itertools.product(schemes, (1440, 800)):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        style = "(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.body))"
        ink, paper = (sum(map(int, re.findall(r"\d+", each)[:3])) / 3 for each in page.evaluate(style))
        assert abs(ink - paper) > 128 and (ink < paper) == (scheme == "light")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_report_of_100_000_units_stays_usable(show: Show, tmp_path: Path) -> None:
    """Its file is below 30 MB, its table is sorted within a second, and only visible rows are in the document."""
    page = show(make_report(records=1_000, per_record=100))
    assert (tmp_path / "report.html").stat().st_size < 30e6
    for name in ("Seconds", "Unit", "Record"):
        page.evaluate("performance.clearMeasures()")
        head(page, name).get_by_role("button").click()
        took = page.evaluate("performance.getEntriesByName('sort')[0].duration")
        print(f"sorted by {name} in {took:.0f} ms")
        assert took < 1_000
    assert column(page, "Unit")[:3] == ["page-0", "page-1", "page-2"]
    assert rows(page).count() < 60
    page.locator("#grid").press("End")
    expect(rows(page).last).to_have_attribute("aria-rowindex", "100001")
    page.locator("#filter").fill("site-99")
    expect(page.locator("#shown")).to_have_text("1,100 of 100,000 units")
