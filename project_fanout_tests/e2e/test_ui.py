"""What a user sees and does in the browser."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import duckdb
from playwright.sync_api import Locator, Page, expect

from project_fanout.engine import FanoutPolicy
from project_fanout.engine.annotations import accepted_words, description_of
from project_fanout.engine.settings import declared_settings
from project_fanout.images.catalog import shipped_photos
from project_fanout_tests.e2e.server import ENDED, DagsterDev, wait_for
from project_fanout_tests.orchestration.fault_work import CHILDREN, RECORDS, UNITS, journal
from project_fanout_tests.processes import ROOT

LOCATION = "project_fanout"
STEP = "web_renditions.record.process_record["
RUN_LIMIT_MS = 300_000
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "rocket")
PARAMS = ("output_dir", "formats", "widths", "quality")


def test_photographs_are_rendered_by_clicking(server: DagsterDev, page: Page, screenshots: Path) -> None:
    """Materialize all: the run succeeds, one step per photograph, and the query of docs/images.md finds the tables."""
    page.goto(f"{server.url}/locations/{LOCATION}/asset-groups/images")
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_role("link", name="View", exact=True).or_(
        page.get_by_role("button", name="View", exact=True)
    ).click()
    page.wait_for_url("**/runs/*")
    run_id = page.url.rpartition("/")[2]
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=RUN_LIMIT_MS)

    run = server.succeeded(run_id)
    steps = sorted(step["stepKey"] for step in run["stepStats"] if STEP in step["stepKey"])
    assert len(steps) == len(PHOTOGRAPHS)
    page.get_by_text(re.compile(r"^Succeeded \(\d+\)$")).click()
    for photograph, step in zip(PHOTOGRAPHS, steps, strict=True):
        assert photograph in step
        expect(page.get_by_text(step, exact=True).first).to_be_visible()
    page.screenshot(path=screenshots / "run.png")

    with duckdb.connect(str(server.folder / "output/warehouse.duckdb"), read_only=True) as tables:
        for query in re.findall(
            r"^```sql\n(.*?)^```$", (ROOT / "docs" / "images.md").read_text(), re.DOTALL | re.MULTILINE
        ):
            assert tables.execute(query).fetchall()

    for asset in ("image_catalog", "web_renditions", "renditions_report"):
        page.goto(f"{server.url}/assets/{asset}")
        expect(page.get_by_text("Never materialized")).to_have_count(0)
        expect(page.get_by_text("Latest materialization")).to_be_visible()
        expect(page.locator(f"a[href*='{run_id}']").first).to_be_visible()
        page.screenshot(path=screenshots / f"asset_{asset}.png", full_page=True)
    page.goto(f"{server.url}/locations/{LOCATION}/asset-groups/images")
    expect(page.get_by_text("renditions_report").first).to_be_visible()
    expect(page.get_by_text("Loading...")).to_have_count(0)
    page.screenshot(path=screenshots / "lineage.png")


def test_the_launchpad_explains_every_setting(server: DagsterDev, page: Page, screenshots: Path) -> None:
    """Each param and each field of the policy is shown with its type, what it does, its default and its bounds."""
    page.goto(f"{server.url}/locations/{LOCATION}/jobs/images_job/playground")
    hint = page.get_by_text("to show auto-completions inline")
    schema = hint.locator("xpath=..")
    editor = page.locator(".CodeMirror")
    expect(editor).to_contain_text("web_renditions:")
    editor.click()

    def explained(setting: str, names: tuple[str, ...]) -> dict[str, tuple[str, str]]:
        """Put the cursor on *setting*; return type of, and comment above, each of *names* in the schema beside it."""
        lines = editor.evaluate("editor => editor.CodeMirror.getValue()").splitlines()
        line = lines.index(f"      {setting}:", lines.index("  web_renditions:"))
        editor.evaluate("(editor, line) => editor.CodeMirror.setCursor(line, 99)", line)
        for name in names:
            expect(schema).to_contain_text(f"{name}?:")
        page.screenshot(path=screenshots / f"launchpad_{setting}.png")
        shown: dict[str, tuple[str, str]] = {}
        comment = ""
        for line in map(str.strip, schema.inner_text().splitlines()):
            if line.startswith("/*"):
                comment = line
            elif ": " in line:
                name, _, kind = line.partition(": ")
                shown[name.rstrip("?")] = (kind, comment)
                comment = ""
        return shown

    declared = declared_settings(FanoutPolicy)
    policy = explained("policy", tuple(declared))
    for name, annotation in declared.items():
        comment = policy[name][1]
        assert description_of(annotation) in comment
        assert f"Accepted: {accepted_words(annotation)}." in comment
        default = getattr(FanoutPolicy(), name)
        assert ("Default: " if default is None else f"Default: {json.dumps(default)}.") in comment
    assert policy["max_workers"][0] == "Int?"
    params = explained("params", PARAMS)
    for name in PARAMS:
        assert re.search(r"\w.*Accepted: .+ Default: .+\.", params[name][1]), name
    assert params["output_dir"][0] == "String"
    assert params["widths"][0] == "list[int (1 to 16383)]"


def test_a_run_is_terminated_and_resumed_by_clicking(
    server: DagsterDev, page: Page, screenshots: Path, squares: Path
) -> None:
    """Terminate: soon the run is Canceled and none of its processes is left. From failure: the rest is run."""
    wait_for(lambda: all(run["status"] in ENDED for run in server.runs()), "no other run is under way")
    of_the_server = set(server.processes())
    run_id, finished = server.launch_squares()
    # The code server starts the tracker with its first run, and keeps it.
    of_the_run = {
        pid
        for pid in set(server.processes()) - of_the_server
        if "resource_tracker" not in server.command_line(pid)
    }
    assert any("project_fanout worker" in server.command_line(pid) for pid in of_the_run)
    page.goto(f"{server.url}/runs/{run_id}")
    page.get_by_role("button", name="Terminate").click()
    page.get_by_role("dialog").get_by_role("button", name="Terminate 1 run").click()

    wait_for(lambda: server.status(run_id) == "CANCELED", "the run is canceled", 30)
    wait_for(lambda: of_the_run.isdisjoint(server.processes()), "no process of the run is left", 5)
    expect(page.get_by_text("Canceled", exact=True).first).to_be_visible()
    page.screenshot(path=screenshots / "canceled.png")
    steps = server.run(run_id)["stepStats"]
    assert {step["status"] for step in steps} == {"SUCCESS", "FAILURE"}, steps

    (squares / "hold").unlink()
    page.reload()
    choice = page.get_by_text("From failure", exact=True)

    def choices_are_shown() -> bool:
        # The page that has just been loaded draws itself anew, and closes the menu with that.
        page.get_by_role("button", name="Re-execute all").locator("xpath=following::button[1]").click()
        page.wait_for_timeout(500)
        return choice.is_visible()

    wait_for(choices_are_shown, "the ways to execute it again are shown")
    choice.click()
    server.succeeded(server.again(run_id)["runId"])
    page.screenshot(path=screenshots / "resumed.png")
    started = Counter(unit for unit, _ in journal(squares, "begun"))
    assert len(started) == RECORDS * UNITS * CHILDREN
    assert {unit for unit in finished if started[unit] > 1} == set()


def switch_of_the_schedule(server: DagsterDev, page: Page) -> Locator:
    """Open the page of the schedule, and return its switch."""
    page.goto(f"{server.url}/locations/tests/schedules/every_minute")
    return page.locator("label[class*=Switch]").last


def test_a_schedule_is_off_until_it_is_switched_on(server: DagsterDev, page: Page) -> None:
    """Of the schedules none is on by itself; a click switches one on."""
    page.goto(f"{server.url}/automation")
    for schedule in ("daily_images", "weekly_campaign", "every_minute"):
        expect(page.get_by_text(schedule, exact=True)).to_be_visible()
    for each in page.locator("label[class*=Switch] input").all():
        expect(each).not_to_be_checked()
    switch = switch_of_the_schedule(server, page)
    switch.click()
    expect(switch.locator("input")).to_be_checked()
    server.schedule_is_on = True


def test_a_tick_of_the_schedule_makes_a_run(server: DagsterDev, page: Page, screenshots: Path) -> None:
    """Once a schedule is on its tick makes a run, and the run succeeds; then it is switched off again."""
    switch = switch_of_the_schedule(server, page)
    if not server.schedule_is_on:  # this test is run alone
        switch.click()
    expect(switch.locator("input")).to_be_checked()
    # Of the two ticks that it takes one comes meanwhile.
    shutil.copy(shipped_photos() / "chelsea.png", server.photographs)
    switch_on_the_sensor(server, page)

    page.goto("about:blank")  # nothing is to be drawn meanwhile
    # A tick is due within a minute, and the daemon looks for one every few seconds.
    tag = {"key": "dagster/schedule_name", "value": "every_minute"}
    run = wait_for(
        lambda: next((run for run in server.runs() if tag in run["tags"]), None), "a tick launches a run", 150
    )
    assert run["jobName"] == "scheduled_job"
    server.succeeded(run["runId"])

    switch = switch_of_the_schedule(server, page)
    expect(switch.locator("input")).to_be_checked()
    page.screenshot(path=screenshots / "schedule.png")
    switch.click()
    expect(switch.locator("input")).not_to_be_checked()
    page.goto(f"{server.url}/runs")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    page.screenshot(path=screenshots / "runs.png")


def switch_on_the_sensor(server: DagsterDev, page: Page) -> None:
    """Open the page of the sensor on photographs, and see that it is on."""
    page.goto(f"{server.url}/locations/{LOCATION}/sensors/new_photographs")
    switch = page.locator("label[class*=Switch]").last
    if not switch.locator("input").is_checked():
        switch.click()
    expect(switch.locator("input")).to_be_checked()


def test_a_new_photograph_makes_a_run(server: DagsterDev, page: Page, screenshots: Path) -> None:
    """Once the sensor is on, a file that is found the same at two ticks is rendered; others are not looked for."""
    shutil.copy(shipped_photos() / "chelsea.png", server.photographs)
    switch_on_the_sensor(server, page)
    page.goto("about:blank")  # nothing is to be drawn meanwhile
    tag = {"key": "dagster/sensor_name", "value": "new_photographs"}
    run = wait_for(
        lambda: next((run for run in server.runs() if tag in run["tags"]), None), "a tick launches a run", 150
    )
    page.goto(f"{server.url}/locations/{LOCATION}/sensors/new_photographs")
    switch = page.locator("label[class*=Switch]").last
    switch.click()
    expect(switch.locator("input")).not_to_be_checked()
    page.screenshot(path=screenshots / "sensor.png")
    server.succeeded(run["runId"])
    with duckdb.connect(str(server.folder / "output/warehouse.duckdb"), read_only=True) as tables:
        files = tables.execute("select distinct record_key from public.web_renditions").fetchall()
    assert files == [("chelsea.png",)]
