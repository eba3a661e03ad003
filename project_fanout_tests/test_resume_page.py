"""docs/resume.md says what is so: its code resumes a run."""

import json
import signal
from pathlib import Path

import dagster as dg
from PIL import Image

from project_fanout_tests.pages import page, written
from project_fanout_tests.processes import run_python

PAGE = page("docs/resume.md")

# A partitioned asset whose run is killed by its last unit, once.
WORK = """
import os
import signal
import time
from pathlib import Path
from project_fanout.engine import Record, Unit

def the_day(*, partition_key: str) -> list[Record]:
    return [Record(partition_key, [Unit(str(number)) for number in range(3)])]

def kill_once(unit: Unit) -> str:
    if unit.key == "2" and not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return unit.key
"""
DEFINITIONS = """
import dagster as dg
from work import kill_once, the_day
from project_fanout.orchestration import build_fanout_asset, fanout_executor

daily = build_fanout_asset(
    "daily", records=the_day, stages=[kill_once], partitions_def=dg.DailyPartitionsDefinition("2026-11-01")
)
jobs = [dg.define_asset_job("daily_job", [daily])]
defs = dg.Definitions([daily], jobs=jobs, executor=fanout_executor)
"""


def test_a_run_is_resumed_in_python(tmp_path: Path) -> None:
    """The script of the page re-executes the failed run whose id it is given, from failure."""
    assert written(PAGE, tmp_path) == ["resume.py", "rendering.py"]
    home = tmp_path / ".dagster_home"
    home.mkdir()
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    Image.new("RGB", (64, 48)).save(photographs / "one.png")
    in_the_way = tmp_path / "made"
    in_the_way.touch()
    small = {"formats": ["jpeg"], "widths": [32]}
    config = {
        "image_catalog": {"config": {"source_dir": str(photographs)}},
        "web_renditions": {"config": {"params": {**small, "output_dir": str(in_the_way)}}},
        "thumbnails": {"config": {"params": {**small, "output_dir": str(tmp_path / "thumbnails")}}},
    }
    (tmp_path / "config.yaml").write_text(json.dumps({"ops": config}))
    arguments = ["-m", "project_fanout.definitions", "-j", "images_job", "-c", "config.yaml"]
    first = run_python("-m", "dagster", "job", "execute", *arguments, home=home, folder=tmp_path)
    assert first.returncode != 0
    assert "NotADirectoryError" in first.stdout + first.stderr
    with dg.DagsterInstance.from_config(str(home)) as instance:
        [failed] = instance.get_runs()
    in_the_way.unlink()

    again = run_python("resume.py", failed.run_id, home=home, folder=tmp_path)

    assert again.returncode == 0, again.stderr
    with dg.DagsterInstance.from_config(str(home)) as instance:
        resumed, _ = instance.get_runs()
        assert (resumed.parent_run_id, resumed.status) == (failed.run_id, dg.DagsterRunStatus.SUCCESS)
        ran = {each.step_key for each in instance.get_run_step_stats(resumed.run_id)}
    assert "renditions_report" in ran
    assert "image_catalog" not in ran


def test_a_killed_run_of_a_partition_is_resumed_in_python(tmp_path: Path) -> None:
    """With definitions of one's own in the script: the run that nobody marked as failed is, and keeps its partition."""
    written(PAGE, tmp_path)
    script = tmp_path / "resume.py"
    own = (
        script.read_text()
        .replace("project_fanout.definitions", "definitions")
        .replace("images_job", "daily_job")
    )
    script.write_text(own)
    (tmp_path / "work.py").write_text(WORK)
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    home = tmp_path / ".dagster_home"
    home.mkdir()
    tags = json.dumps({"dagster/partition": "2026-11-04"})
    arguments = ["-m", "definitions", "-j", "daily_job", "--tags", tags]
    first = run_python("-m", "dagster", "job", "execute", *arguments, home=home, folder=tmp_path)
    assert first.returncode == -signal.SIGKILL, first.stderr
    with dg.DagsterInstance.from_config(str(home)) as instance:
        [killed] = instance.get_runs()
        assert killed.status == dg.DagsterRunStatus.STARTED

    again = run_python("resume.py", killed.run_id, home=home, folder=tmp_path)

    assert again.returncode == 0, again.stderr
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("daily")) == {"2026-11-04"}
