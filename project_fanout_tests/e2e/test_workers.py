"""What a pool worker carries, however its run was started."""

from pathlib import Path

import dagster as dg
import pandas as pd

from project_fanout_tests.e2e.location import defs
from project_fanout_tests.e2e.server import DagsterDev
from project_fanout_tests.processes import run_python

MODULE = "project_fanout_tests.e2e.location"


def stored_imports(home: Path) -> pd.DataFrame:
    """Return the table that the run left in *home*."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        table: pd.DataFrame = defs.load_asset_value("worker_imports", instance=instance)
    return table


def check_imports(table: pd.DataFrame) -> None:
    """Assert that all six units ran and that none found a module of Dagster beside its own."""
    assert table["status"].tolist() == ["succeeded"] * 6
    assert table["modules"].min() > 0
    assert table["dagster"].tolist() == [[]] * 6


def test_a_worker_of_a_run_from_the_command_line_has_no_dagster(tmp_path: Path) -> None:
    """`dagster job execute`, all steps in its process, whose __main__ is Dagster: workers do not load it."""
    home = tmp_path / "dagster_home"
    home.mkdir()
    config = tmp_path / "in_process.yaml"
    config.write_text("execution: {config: {in_process: {}}}")

    command = ["dagster", "job", "execute", "-m", MODULE, "-j", "workers_job", "-c", str(config)]
    run = run_python("-m", *command, home=home, folder=tmp_path)

    assert run.returncode == 0, run.stderr[-4000:]
    check_imports(stored_imports(home))


def test_a_worker_of_a_run_under_dagster_dev_has_no_dagster(server: DagsterDev) -> None:
    """A run that the UI's server launches, with Dagster's default executor: workers do not load Dagster."""
    server.succeeded(server.workers_run)

    check_imports(stored_imports(server.home))
