"""Dagster instances for tests."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import dagster as dg

from project_fanout_tests.nightly import NIGHTLY


def local_instance(folder: Path) -> dg.DagsterInstance:
    """Return an instance that keeps everything in *folder*, except what steps print, which nobody reads."""
    if not (folder / "history").exists():
        with_tables(folder)
    overrides = {
        "telemetry": {"enabled": False},
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        },
    }
    return dg.DagsterInstance.local_temp(str(folder), overrides=overrides)


def new_home(folder: Path) -> Path:
    """Make *folder* a DAGSTER_HOME in which nothing has happened yet, and return it."""
    with_tables(folder)
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return folder


def with_tables(folder: Path) -> None:
    """Make *folder*, if need be, with the empty databases that Dagster makes when it first opens an instance there.

    To make them takes 0.15 s of CPU, to copy them next to nothing. At night Dagster makes them.
    """
    if NIGHTLY:
        folder.mkdir(parents=True, exist_ok=True)
    else:
        shutil.copytree(_tables(), folder, dirs_exist_ok=True)


@cache
def _tables() -> str:
    folder = tempfile.mkdtemp(prefix="project_fanout_tables_")
    atexit.register(shutil.rmtree, folder)
    with dg.DagsterInstance.local_temp(folder, overrides={"telemetry": {"enabled": False}}):
        pass
    return folder
