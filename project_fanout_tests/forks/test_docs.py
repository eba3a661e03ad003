"""docs/forks.md says what is so: its code runs, and its run config is accepted."""

import json
import re
import subprocess
import sys

import dagster as dg
import pytest
import yaml

from project_fanout.definitions import defs
from project_fanout.forks.request import ForkTask
from project_fanout_tests.e2e.server import ROOT, environment

PAGE = (ROOT / "docs" / "forks.md").read_text()


def blocks(language, text=PAGE):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_the_examples_run(tmp_path):
    """Each Python block is a file with the name in its first line; together they are passing tests."""
    names = []
    for block in blocks("python"):
        name = re.match(r"# (\w+\.py)\n", block)[1]
        (tmp_path / name).write_text(block)
        names.append(name)
    tests = [name for name in names if name.startswith("test_")]
    assert len(tests) == 2
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        check=False,
        env=environment(tmp_path),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import dagster, definitions; dagster.Definitions.validate_loadable(definitions.defs)",
        ],
        check=False,
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert loaded.returncode == 0, loaded.stderr


@pytest.mark.parametrize("block", [*blocks("yaml"), *blocks("json", (ROOT / "README.md").read_text())])
def test_the_run_config_is_accepted(block):
    """The run config shown is one that the assets of the code location take, by their own checks."""
    config = yaml.safe_load(block)
    [name] = config["ops"]
    job = dg.Definitions(
        assets=[defs.resolve_assets_def(name)], jobs=[dg.define_asset_job("job")]
    ).resolve_job_def("job")
    assert dg.validate_run_config(job, config)
    assert dg.validate_run_config(job, json.loads(json.dumps(config)))


def test_every_field_of_a_task_is_named():
    """What a task may have is on the page."""
    for name in set(ForkTask.model_fields) - {"description"}:
        assert name in PAGE
