"""docs/forks.md says what is so: its code runs, and its run config is accepted."""

import json

import dagster as dg
import pytest
import yaml

from project_fanout.definitions import defs
from project_fanout.forks.request import ForkTask
from project_fanout_tests.pages import blocks, page, written
from project_fanout_tests.processes import run_pytest, run_python

PAGE = page("docs/forks.md")


def test_the_examples_run(tmp_path):
    """Each Python block is a file with the name in its first line; together they are passing tests."""
    tests = [name for name in written(PAGE, tmp_path) if name.startswith("test_")]
    assert len(tests) == 2
    run = run_pytest(*tests, folder=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    code = "import dagster, definitions; dagster.Definitions.validate_loadable(definitions.defs)"
    loaded = run_python("-c", code, home=tmp_path, folder=tmp_path)
    assert loaded.returncode == 0, loaded.stderr


@pytest.mark.parametrize("block", [*blocks(PAGE, "yaml"), *blocks(PAGE, "json")])
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
