"""Importing the library costs no more than it must: workers and schedules do it all the time."""

import json
import subprocess
import sys

import pytest

HEAVY = (
    "dagster",
    "pandas",
    "pydantic",
    "annotated_types",
    "sqlalchemy",
    "numpy",
    "PIL",
    "duckdb",
    "jinja2",
    "ray",
)


def imported_by(module: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after importing *module*."""
    code = f"import {module}, sys, json; print(json.dumps([m.partition('.')[0] for m in sys.modules]))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(run.stdout))


@pytest.mark.parametrize(
    "module",
    [
        "project_fanout",
        "project_fanout.engine",
        "project_fanout.engine.pools.process.worker",
        "project_fanout.engine.pools.ray.pool",
        "project_fanout_tests.engine.runner_stages",
    ],
)
def test_nothing_heavy_is_imported(module: str) -> None:
    """Neither the package, nor the engine, nor a module of stages loads Dagster, pandas or a database."""
    assert imported_by(module) & set(HEAVY) == set()


def test_params_and_the_runner_do_without_dagster() -> None:
    """The whole engine works where Dagster is not installed."""
    for module in ("params", "runner", "stages", "tally"):
        assert "dagster" not in imported_by(f"project_fanout.engine.{module}")
