"""docs/resume.md says what is so: its code resumes a run."""

import json
from pathlib import Path

import dagster as dg
from PIL import Image

from project_fanout_tests.e2e.server import run_python
from project_fanout_tests.pages import page, written

PAGE = page("docs/resume.md")


def test_a_run_is_resumed_in_python(tmp_path: Path) -> None:
    """The script of the page re-executes the failed run whose id it is given, from failure."""
    assert written(PAGE, tmp_path) == ["resume.py"]
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
