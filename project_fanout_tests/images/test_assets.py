"""The images assets in Dagster, from a folder of photographs to files, tables and a page."""

import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from click.testing import CliRunner
from PIL import Image

from project_fanout.definitions import defs
from project_fanout.images import __main__ as command
from project_fanout.images.assets import image_catalog, renditions_report, web_renditions
from project_fanout.images.catalog import shipped_photos
from project_fanout.images.warehouse import Warehouse
from project_fanout_tests.images.samples import bad_pictures, quadrants
from project_fanout_tests.pages import blocks, page
from project_fanout_tests.processes import run_python

ASSETS = [image_catalog, web_renditions, renditions_report]


def run(tmp_path, source_dir=None, params=None, policy=None, only=None):
    """Materialise the three assets, or *only* some of them, with a database in *tmp_path*."""
    params = {"output_dir": str(tmp_path / "renditions"), **(params or {})}
    return dg.materialize(
        ASSETS,
        resources={"warehouse": Warehouse(database=str(tmp_path / "warehouse.duckdb"))},
        run_config={
            "ops": {
                "image_catalog": {"config": {"source_dir": source_dir and str(source_dir)}},
                **(
                    {} if only else {"web_renditions": {"config": {"params": params, "policy": policy or {}}}}
                ),
            }
        },
        selection=only,
        raise_on_error=False,
    )


def tables(tmp_path):
    """Return catalogue, renditions and report as they are in the database."""
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as connection:
        names = ("image_catalog", "web_renditions", "renditions_report")
        return [connection.table(f"public.{name}").df() for name in names]


def failure_text(result):
    """Return what the failed steps of a run say."""
    events = [event for event in result.all_events if event.is_step_failure]
    return "\n".join(str(event.event_specific_data.error) for event in events)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """One run over the shipped photographs with nothing configured but where the files go."""
    folder = tmp_path_factory.mktemp("shipped")
    result = run(folder)
    assert result.success, failure_text(result)
    return folder, result


def test_the_query_of_the_readme_tells_what_a_phone_loads(shipped):
    """As docs/images.md runs it, it has each photograph in each format, also the one narrower than the screen."""
    folder, _ = shipped
    text = page("docs/images.md")
    [query] = blocks(text, "sql")
    (folder / "phone.sql").write_text(query)
    [command] = re.findall(r'^\.venv/bin/python -c "(import duckdb.*)"$', text, re.MULTILINE)
    command = command.replace("output/warehouse", "warehouse")
    shown = run_python("-c", command, home=folder, folder=folder)
    assert shown.returncode == 0, shown.stderr
    assert "chelsea.png" in shown.stdout
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        rows = connection.execute(query).fetchall()
    assert len(rows) == 5 * 3
    widths = {(file, width) for file, _, width, *_ in rows}
    assert len(widths) == 5
    assert {width for file, width in widths if file != "chelsea.png"} == {480}
    assert 0 < dict(widths)["chelsea.png"] < 480


def test_the_report_agrees_with_a_look_at_every_file(shipped):
    """Size, format, width and aspect ratio in the tables are what Pillow finds on disk, file by file."""
    folder, _ = shipped
    _, renditions, report = tables(folder)
    originals = {path.name: path for path in shipped_photos().iterdir() if path.suffix != ".md"}
    seen: dict[tuple[str, str], dict[str, int]] = {}
    files = {str(path) for path in (folder / "renditions").rglob("*") if path.is_file()}
    assert set(renditions["path"]) == files - {str(folder / "renditions" / "index.html")}
    for row in renditions.to_dict("records"):
        original = originals[row["record_key"]]
        size = Path(row["path"]).stat().st_size
        with Image.open(original) as before, Image.open(row["path"]) as after:
            assert after.format.lower() == row["format"]
            assert after.size == (row["width"], row["height"])
            assert after.width <= before.width
            assert abs(after.height - before.height * after.width / before.width) <= 1
        assert size == row["bytes"]
        total = seen.setdefault(
            (row["record_key"], row["format"]), {"renditions": 0, "bytes": 0, "widest": 0}
        )
        total["renditions"] += 1
        total["bytes"] += size
        if row["width"] > total["widest"]:
            total["widest"], total["widest_bytes"] = row["width"], size
    assert len(report) == len(seen) == 15
    for row in report.to_dict("records"):
        total = seen.pop((row["file"], row["format"]))
        assert {name: row[name] for name in total} == total
        original_bytes = Path(originals[row["file"]]).stat().st_size
        assert row["original_bytes"] == original_bytes
        assert row["saved_bytes"] == original_bytes - total["widest_bytes"]
        assert row["saved_ratio"] == pytest.approx(row["saved_bytes"] / original_bytes)


def test_each_photograph_is_one_step_with_10_to_30_renditions(shipped):
    """The fan-out is by photograph, and no photograph is without its renditions."""
    folder, result = shipped
    mapped = {
        event.step_key
        for event in result.all_events
        if event.is_step_success and "[" in (event.step_key or "")
    }
    assert len(mapped) == 5
    counts = tables(folder)[1].groupby("record_key").size()
    assert len(counts) == 5
    assert counts.between(10, 30).all()


def test_metadata_lead_to_the_page_and_show_the_saving(shipped):
    """From the asset in the UI one gets to the page; the tables say what was saved."""
    folder, result = shipped
    (event,) = [
        e for e in result.get_asset_materialization_events() if e.asset_key.path == ["renditions_report"]
    ]
    metadata = event.materialization.metadata
    page = Path(metadata["page"].value)
    assert page == folder / "renditions" / "index.html"
    assert page.read_text().count("<picture>") == 5
    assert all(name in metadata["saving_by_format"].value for name in ("avif", "webp", "jpeg"))
    assert "astronaut.png" in metadata["bytes_by_photograph"].value


def test_the_asset_shows_the_photographs_and_no_path_of_the_machine(shipped):
    """The fan-out's metadata have a contact sheet; all of them are small, and say nothing of folders."""
    folder, result = shipped
    (event,) = [
        e for e in result.get_asset_materialization_events() if e.asset_key.path == ["web_renditions"]
    ]
    metadata = event.materialization.metadata
    assert metadata["contact_sheet"].value.count("![](data:image/jpeg;base64,") == 5
    texts = [str(value.value) for value in metadata.values()]
    assert sum(map(len, texts)) < 200_000
    assert not [text for text in texts if str(folder / "renditions") in text]


def summarised(database):
    """Call the command on *database*."""
    return CliRunner().invoke(command.main, ["--database", str(database)], catch_exceptions=False)


def test_the_summary_says_what_there_is_and_where(shipped):
    """The command names photographs, renditions, saving, files, page and tables."""
    folder, _ = shipped
    done = summarised(folder / "warehouse.duckdb")
    assert done.exit_code == 0
    assert "photographs  5\n" in done.stdout
    assert "renditions   81, " in done.stdout
    assert done.stdout.count("saved        ") == 3
    assert done.stdout.count(", 451 to 1000 pixels wide\n") == 3
    assert "the widest rendition of each photograph against its original file" in done.stdout
    for path in (folder / "renditions", folder / "renditions" / "index.html", folder / "warehouse.duckdb"):
        assert str(path) in done.stdout


def test_the_summary_before_any_run_says_what_to_do(tmp_path):
    """Without tables there is a plain sentence and an exit code, not a traceback."""
    done = summarised(tmp_path / "none.duckdb")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "none.duckdb does not exist. Materialise images_job first" in done.stderr
    duckdb.connect(str(tmp_path / "empty.duckdb")).close()
    assert summarised(tmp_path / "empty.duckdb").exit_code == 1


def test_the_summary_during_a_run_says_that_the_database_is_in_use(tmp_path):
    """Who asks while a run stores its tables, or names another file, gets a plain sentence, not a traceback."""
    database = tmp_path / "warehouse.duckdb"
    hold = (
        "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"open\n"
        done = summarised(database)
        holder.stdin.close()
    assert done.exit_code == 1
    assert f"{database} is in use, by a run or another program" in done.stderr
    (tmp_path / "notes.txt").write_text("no database " * 1000)
    done = summarised(tmp_path / "notes.txt")
    assert done.exit_code == 1
    assert "notes.txt cannot be read: IO Error" in done.stderr


def test_bad_pictures_among_good_ones_are_all_named_and_the_good_ones_finish(tmp_path):
    """Bad pictures fail the run, which names each with its reason, unless max_failed_ratio allows them."""
    source = tmp_path / "source"
    source.mkdir()
    quadrants().save(source / "good.jpg")
    quadrants().save(source / "fine.png")
    reasons = bad_pictures(source)
    result = run(tmp_path, source)
    assert not result.success
    said = failure_text(result)
    for file, reason in reasons.items():
        assert file in said
        assert reason in said
    made = sorted(path.name for path in (tmp_path / "renditions" / "good.jpg").iterdir())
    assert made == ["120.avif", "120.jpg", "120.webp"]
    assert not result.get_asset_materialization_events()[0].step_key.startswith("web_renditions")

    result = run(tmp_path, source, policy={"max_failed_ratio": 0.9})
    assert result.success, failure_text(result)
    catalog, renditions, report = tables(tmp_path)
    problems = catalog.dropna(subset=["problem"]).set_index("file")["problem"]
    assert set(problems.index) == set(reasons)
    failed = renditions[renditions["status"] == "failed"].set_index("record_key")["error"]
    assert set(failed.index) == set(reasons)
    assert all(reasons[file] in failed[file] and reasons[file] in problems[file] for file in reasons)
    assert set(report["file"]) == {"good.jpg", "fine.png"}
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    readable = checks["every_picture_is_readable"]
    assert (readable.passed, readable.severity) == (False, dg.AssetCheckSeverity.WARN)
    page = (tmp_path / "renditions" / "index.html").read_text()
    assert all(file in page for file in reasons)


def test_a_report_over_an_older_fan_out_names_the_photograph(tmp_path):
    """Who removes a photograph and runs catalogue and report without the fan-out is told which one, and what to do."""
    source = tmp_path / "source"
    source.mkdir()
    quadrants().save(source / "stays.png")
    quadrants().save(source / "goes.png")
    small = {"widths": [50], "formats": ["webp"]}
    assert run(tmp_path, source, small).success
    (source / "goes.png").unlink()
    result = run(tmp_path, source, only=[image_catalog, renditions_report])
    assert not result.success
    assert "has renditions of 'goes.png', which image_catalog does not have as readable" in failure_text(
        result
    )
    assert run(tmp_path, source, small).success


def test_an_empty_folder_gives_empty_tables(tmp_path):
    """No photographs is no failure: the tables are there, and no page is written."""
    (tmp_path / "source").mkdir()
    result = run(tmp_path, tmp_path / "source")
    assert result.success, failure_text(result)
    assert [len(table) for table in tables(tmp_path)] == [0, 0, 0]
    assert not (tmp_path / "renditions").exists()


def test_a_folder_that_does_not_exist_fails_by_name(tmp_path):
    """A wrong source_dir fails the catalogue, and nothing downstream runs."""
    result = run(tmp_path, tmp_path / "nowhere")
    assert not result.success
    assert f"{tmp_path / 'nowhere'} cannot be listed: No such file or directory" in failure_text(result)
    assert result.get_asset_materialization_events() == []


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"formats": ["gif"]}, r"formats is \['gif'\], accepted: .*'avif', 'webp', 'jpeg'"),
        ({"formats": []}, r"formats is \[\], accepted: .*at least 1 long"),
        ({"widths": [0]}, r"widths is \[0\], accepted: "),
        ({"widths": ["wide"]}, r"widths is \['wide'\], accepted: "),
        ({"quality": {"webp": 101}}, r"quality is \{'webp': 101\}, accepted: "),
        ({"quality": {"gif": 80}}, r"quality is \{'gif': 80\}, accepted: .*'avif', 'webp', 'jpeg'"),
        ({"qualty": {"webp": 80}}, r"\bqualty\b"),
    ],
)
def test_params_that_cannot_be_are_refused_before_anything_is_rendered(tmp_path, params, said):
    """A typo in the run config is named with what is accepted, and no file is written."""
    with pytest.raises(dg.DagsterError, match=said):
        run(tmp_path, params=params)
    assert not (tmp_path / "renditions").exists()


def test_params_reach_the_renditions(tmp_path):
    """formats, widths and quality in the run config decide what is made."""
    source = tmp_path / "source"
    source.mkdir()
    Image.effect_noise((200, 100), 60).save(source / "noise.png")
    sizes = []
    for quality in (20, 90):
        params = {"formats": ["webp"], "widths": [50, 100], "quality": {"webp": quality}}
        assert run(tmp_path, source, params=params).success
        renditions = tables(tmp_path)[1]
        assert renditions["unit_key"].tolist() == ["webp-50", "webp-100"]
        sizes.append(renditions["bytes"].sum())
    assert sizes[0] < sizes[1]


def test_the_location_loads_with_its_job_and_its_schedule():
    """Four assets, the job that makes them, and a daily schedule that is off until switched on."""
    repository = defs.get_repository_def()
    images = {"image_catalog", "web_renditions", "thumbnails", "renditions_report"}
    job = defs.resolve_job_def("images_job")
    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == images
    (schedule,) = [each for each in repository.schedule_defs if each.job_name == "images_job"]
    assert (schedule.name, schedule.cron_schedule) == ("daily_images", "0 6 * * *")
    assert schedule.execution_timezone == "Europe/Berlin"
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    with dg.DagsterInstance.ephemeral() as instance:
        tick = schedule.evaluate_tick(dg.build_schedule_context(instance))
    (request,) = tick.run_requests
    assert dg.validate_run_config(job, request.run_config)
