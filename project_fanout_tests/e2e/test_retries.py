"""A killed run heals with nobody there, by Dagster's automatic run retries."""

import os
import signal
from collections import Counter
from pathlib import Path

import dagster as dg

from project_fanout_tests.e2e.server import DagsterDev
from project_fanout_tests.orchestration.fault_work import CHILDREN, RECORDS, UNITS, journal


def test_a_killed_run_is_retried_by_the_daemon(server: DagsterDev, squares: Path) -> None:
    """SIGKILL of the run's process: with the settings of docs/resume.md the asset is soon there, whole.

    The retry runs only what was missing.
    """
    first, finished = server.launch_squares()
    os.kill(int((squares / "pid").read_text()), signal.SIGKILL)
    (squares / "hold").unlink()

    retry = server.again(first)
    server.succeeded(retry["runId"])
    started = Counter(unit for unit, _ in journal(squares, "begun"))
    assert len(started) == RECORDS * UNITS * CHILDREN
    assert {unit for unit in finished if started[unit] > 1} == set()
    with dg.DagsterInstance.from_config(str(server.home)) as instance:
        events = instance.fetch_materializations(dg.AssetKey("squares"), limit=9).records
        [event] = (event for event in events if event.run_id in (first, retry["runId"]))
        assert event.run_id == retry["runId"]
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["succeeded"].value == len(started)
