"""A browser and a web server to point it at."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from project_fanout_tests.e2e.server import DagsterDev
from project_fanout_tests.pages import blocks
from project_fanout_tests.pages import page as page_of_docs
from project_fanout_tests.processes import ROOT

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = [
    "--no-sandbox",  # which Chromium refuses to set up for root
    "--disable-gpu",
    # Nothing but the page under test is fetched; elsewhere there may be no network.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


#: What is waited for is begun before, and looked at after, what takes its time anyway: the schedule is switched on
#: by the first test, and while its next minute comes the others run. Of the runs that it has made none may be left
#: when the processes of a run are counted.
ORDER = (
    "test_a_schedule_is_off_until_it_is_switched_on",
    "test_photographs_are_rendered_by_clicking",
    "test_the_launchpad_explains_every_setting",
    "test_progress_is_said_while_a_run_goes_on",
    "test_the_bars_of_twenty_records_show_twenty_names",
    "test_a_failed_run_says_why_where_one_looks",
    "test_the_plots_are_pictures_in_light_and_dark",
    "test_the_report_opens_from_its_link",
    "test_a_killed_run_is_retried_by_the_daemon",
    "test_a_worker_of_a_run_from_the_command_line_has_no_dagster",
    "test_a_worker_of_a_run_under_dagster_dev_has_no_dagster",
    "test_a_tick_of_the_schedule_makes_a_run",
    "test_a_new_photograph_makes_a_run",
    "test_a_run_is_terminated_and_resumed_by_clicking",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring these tests, and no others, into their order."""
    places = [place for place, item in enumerate(items) if item.path.parent == Path(__file__).parent]
    ordered = sorted((items[place] for place in places), key=lambda item: ORDER.index(item.name))
    for place, item in zip(places, ordered, strict=True):
        items[place] = item


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A headless Chromium with a fresh profile, for these tests: while Playwright runs, asyncio.run cannot."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser ({', '.join(BROWSERS)}): sudo apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page as large as a laptop's screen, which fails the test on an error in its scripts."""
    # Without a GPU what moves on a page is drawn by the CPU that the runs need.
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that screenshots go to: PROJECT_FANOUT_SCREENSHOTS, or a temporary one."""
    chosen = os.environ.get("PROJECT_FANOUT_SCREENSHOTS")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterDev]:
    """`dagster dev` with the workspace of the project, that of these tests, and the dagster.yaml of docs/resume.md.

    One for all tests, since each start takes some 8 s. At the end nothing that it started may be left.
    """
    workspaces = (ROOT / "workspace.yaml", Path(__file__).with_name("workspace.yaml"))
    targets = [argument for path in workspaces for argument in ("--workspace", str(path))]
    [settings] = [text for text in blocks(page_of_docs("docs/resume.md"), "yaml") if "run_retries" in text]
    server = DagsterDev(targets, tmp_path_factory.mktemp("dagster_dev"), settings)
    server.workers_run = server.launch(
        "workers_job", {}
    )  # a process for each step: the other tests go on meanwhile
    yield server
    left = server.stop()
    assert not left, f"processes outlived dagster dev: {left}"


@pytest.fixture(scope="package")
def albums_run(server: DagsterDev) -> str:
    """The id of a run of albums_job, of which three units fail; it has just been launched."""
    params = {"bad": "3/7 11/2 11/3"}
    return server.launch("albums_job", {"ops": {"albums": {"config": {"params": params}}}})


@pytest.fixture
def squares(server: DagsterDev) -> Path:
    """The folder of the runs of squares_job, empty but for the order to hold when half of the work is done."""
    shutil.rmtree(server.squares)
    server.squares.mkdir()
    (server.squares / "hold").touch()
    return server.squares
