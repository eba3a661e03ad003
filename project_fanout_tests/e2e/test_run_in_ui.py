"""What somebody sees in the browser of a fan-out that goes on, and of one that has failed."""

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from project_fanout_tests.e2e.paging import RECORDS, UNITS
from project_fanout_tests.e2e.server import ENDED, DagsterDev, wait_for

TOTAL = RECORDS * UNITS
ERROR = "<b>torn</b> __film__, HTTP 429"


@pytest.fixture
def failed_run(server: DagsterDev, albums_run: str) -> str:
    """The id of the run, which has failed."""
    wait_for(lambda: server.status(albums_run) in ENDED, "the run of the albums ends")
    assert server.status(albums_run) == "FAILURE"
    return albums_run


def test_progress_is_said_while_a_run_goes_on(
    server: DagsterDev, page: Page, albums_run: str, screenshots: Path
) -> None:
    """Some seconds after its start the log of a run says how far it is; the run has not ended then."""
    page.goto(f"{server.url}/runs/{albums_run}")
    progress = re.compile(
        rf"albums: \d+ of {TOTAL} units done \(\d+%\), \d failed, 2 running, \d+ waiting; .+ left\."
    )
    expect(page.get_by_text(progress).first).to_be_visible()
    assert server.status(albums_run) == "STARTED"
    page.screenshot(path=screenshots / "progress.png")


def test_the_bars_of_twenty_records_show_twenty_names(
    server: DagsterDev, page: Page, failed_run: str, screenshots: Path
) -> None:
    """The end of each bar's label is the record's name, at 1440 pixels."""
    page.set_viewport_size({"width": 1440, "height": 2600})
    page.goto(f"{server.url}/runs/{failed_run}")
    expect(page.get_by_text(re.compile("album_00")).first).to_be_visible()
    shown = page.locator("body").inner_text()
    names = {f"album_{number:02}" for number in range(RECORDS)}
    page.screenshot(path=screenshots / "bars.png")
    assert {name for name in names if re.search(rf"{name}_[0-9a-f]{{6}}\]?", shown)} == names


def test_a_failed_run_says_why_where_one_looks(
    server: DagsterDev, page: Page, failed_run: str, screenshots: Path
) -> None:
    """The asset's page, its check and the record's own log each name the unit and its error."""
    steps = [step["stepKey"] for step in server.run(failed_run)["stepStats"]]
    (step,) = (step for step in steps if "[album_03" in step)
    for name, address in (
        ("asset", f"{server.url}/assets/albums"),
        ("check", f"{server.url}/assets/albums?view=checks&checkDetail=all_units_succeeded"),
        ("record", f"{server.url}/runs/{failed_run}?logs={quote(f'step:{step}')}"),
    ):
        page.goto(address)
        expect(page.get_by_text(ERROR).first).to_be_visible()
        page.screenshot(path=screenshots / f"failed_{name}.png", full_page=True)
        text = page.locator("body").inner_text()
        assert "Album 03" in text, name
        assert "photo 7" in text, name


def test_the_plots_are_pictures_in_light_and_dark(
    server: DagsterDev, page: Page, failed_run: str, screenshots: Path
) -> None:
    """Timeline and distribution are shown on the asset's page where they stand, with no click."""
    page.set_viewport_size({"width": 1440, "height": 2000})  # the page scrolls within itself
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of its literals
        page.goto(f"{server.url}/assets/albums")
        for name in ("timeline of the workers", "distribution of unit seconds"):
            picture = page.get_by_alt_text(name)
            expect(picture).to_be_visible()
            assert picture.evaluate("each => each.complete && each.naturalWidth") == 372
        page.screenshot(path=screenshots / f"plots_{scheme}.png", full_page=True)


def test_the_report_opens_from_its_link(
    server: DagsterDev, page: Page, failed_run: str, screenshots: Path
) -> None:
    """A click on the asset's page opens it: it sorts, filters, and opens a unit with its input, log and attempts."""
    page.goto(f"{server.url}/assets/albums")
    page.get_by_role("link", name="Open the report").click()
    expect(page.get_by_role("heading", name="albums")).to_be_visible()
    page.screenshot(path=screenshots / "report.png")
    grid = page.get_by_role("grid")
    expect(grid).to_have_attribute("aria-rowcount", str(TOTAL + 1))  # the header is a row
    page.get_by_role("columnheader", name="Seconds").click()
    expect(page.get_by_role("columnheader", name="Seconds")).to_have_attribute("aria-sort", "ascending")
    page.get_by_placeholder("Filter by record, unit or error").fill("torn")
    expect(page.locator("#shown")).to_contain_text("3 of 200")
    grid.get_by_text("Album 03").click()
    unit = page.get_by_role("dialog")
    for text in (ERROR, '"damaged":true', "develop: the film is torn"):
        expect(unit).to_contain_text(text)
    page.screenshot(path=screenshots / "report_of_a_unit.png")
