"""A browser and a web server to point it at."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from project_fanout_tests.e2e.server import ROOT, DagsterDev

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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium with a fresh profile, for one module: while Playwright runs, asyncio.run cannot."""
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
    context = browser.new_context(viewport={"width": 1440, "height": 900})
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


@pytest.fixture(scope="module")
def dagster_dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., DagsterDev]]:
    """Start `dagster dev` with an empty DAGSTER_HOME; at the end nothing that it started may be left."""
    started: list[DagsterDev] = []

    def start(*targets: str, settings: str = "") -> DagsterDev:
        started.append(DagsterDev(targets, tmp_path_factory.mktemp("dagster_dev"), settings))
        return started[-1]

    yield start
    left = {server.url: server.stop() for server in started}
    assert not any(left.values()), f"processes outlived dagster dev: {left}"


@pytest.fixture(scope="module")
def project_server(dagster_dev: Callable[..., DagsterDev]) -> DagsterDev:
    """The project's own code location, as workspace.yaml names it."""
    return dagster_dev("--workspace", str(ROOT / "workspace.yaml"))
