"""A killed run heals with nobody there, by Dagster's automatic run retries."""

import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from project_fanout_tests.e2e.server import ROOT, DagsterDev, wait_for
from project_fanout_tests.orchestration.fault_work import CHILDREN, FOLDER, RECORDS, UNITS, half_done, journal

MODULE = "project_fanout_tests.e2e.locations.squares"


def documented_settings() -> str:
    """Return the dagster.yaml that the documentation tells users to write."""
    text = (ROOT / "docs/resume.md").read_text()
    [found] = re.findall(r"^```yaml\n# dagster.yaml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return str(found)


def test_a_killed_run_is_retried_by_the_daemon(
    dagster_dev: Callable[..., DagsterDev], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL of the run's process: with the settings of docs/resume.md the asset is soon there, whole.

    The retry runs only what was missing.
    """
    monkeypatch.setenv(FOLDER, str(tmp_path))
    (tmp_path / "hold").touch()
    server = dagster_dev("--module-name", MODULE, settings=documented_settings())
    first = server.launch(MODULE, "squares_job", {"execution": {"config": {"max_concurrent": 3}}})

    wait_for(lambda: half_done(tmp_path), "half of the units have ended")
    finished = {unit for unit, _ in journal(tmp_path, "squared")}
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    (tmp_path / "hold").unlink()

    retry = wait_for(
        lambda: next((run for run in server.runs() if run["runId"] != first), None), "it is retried", 180
    )
    tags = {tag["key"]: tag["value"] for tag in retry["tags"]}
    assert tags["dagster/root_run_id"] == first
    server.succeeded(retry["runId"])
    started = Counter(unit for unit, _ in journal(tmp_path, "begun"))
    assert len(started) == RECORDS * UNITS * CHILDREN
    assert {unit for unit in finished if started[unit] > 1} == set()
    with dg.DagsterInstance.from_config(str(server.home)) as instance:
        [event] = instance.fetch_materializations(dg.AssetKey("squares"), limit=9).records
        assert event.run_id == retry["runId"]
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["succeeded"].value == len(started)
