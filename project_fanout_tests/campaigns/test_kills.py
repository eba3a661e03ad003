"""Runs that are killed and started again."""

import json
import os
import random
from functools import partial
from pathlib import Path

import dagster as dg

from project_fanout_tests.campaigns import campaign_jobs
from project_fanout_tests.campaigns.servers import recipients_of
from project_fanout_tests.instances import new_home
from project_fanout_tests.processes import Process, start
from project_fanout_tests.waiting import wait_until

COUNT = 150


def start_run(home: Path, config: object, failed_run: str) -> Process:
    arguments = ("-m", campaign_jobs.__name__, str(home), json.dumps(config), failed_run)
    return start(*arguments, home=home)


def test_five_kills_and_nobody_gets_two(tmp_path: Path, rng: random.Random) -> None:
    """A run that is killed at any moment, five times, and resumed: one message each, or unknown; never two."""
    home, folder = new_home(tmp_path / "home"), tmp_path / "campaign"
    config = campaign_jobs.config(folder, generated=COUNT, page_size=30, batch_size=10)
    config["resources"] = {"mail_server": {"config": {"max_per_second": 60.0}}}
    new = folder / "maildir" / "new"

    def arrived() -> int:
        return len(os.listdir(new)) if new.is_dir() else 0

    def arrived_or_ended(goal: int, run: Process) -> bool:
        return arrived() >= goal or run.poll() is not None

    failed_run = ""
    for kill in range(5):
        goal = arrived() + rng.randint(1, 20)
        run = start_run(home, config, failed_run)
        wait_until(partial(arrived_or_ended, goal, run), f"{goal} messages have arrived", 120)
        assert run.poll() is None, f"the run ended before kill {kill}"
        run.kill()
        run.wait()
        with dg.DagsterInstance.from_config(str(home)) as instance:
            (last,) = instance.get_runs(limit=1)
            instance.report_run_failed(last)
            # The first is started afresh, the others go on in its lineage.
            failed_run = last.run_id if kill else ""

    final = start_run(home, config, failed_run)
    assert final.wait(180) == 0
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (last,) = instance.get_runs(limit=1)
        assert last.is_success
        deliveries = campaign_jobs.defs.load_asset_value("campaign_delivery", instance=instance)
        checks = [
            entry.dagster_event.asset_check_evaluation_data
            for entry in instance.all_logs(last.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
            if entry.dagster_event
        ]
    assert {check.check_name: check.passed for check in checks}["every_recipient_is_accounted_for"]

    kept = recipients_of(folder / "maildir")
    assert set(kept.values()) == {1}, "somebody got two messages"
    assert deliveries["row"].tolist() == list(range(1, COUNT + 1))
    status = dict(zip(deliveries["address"], deliveries["status"], strict=True))
    assert set(status.values()) <= {"sent", "unknown"}
    assert {address for address, each in status.items() if each == "sent"} <= set(kept)
    assert set(status) == set(kept) | {address for address, each in status.items() if each == "unknown"}
    # At each kill, each worker had one message under way.
    assert sum(each == "unknown" for each in status.values()) <= 5 * len(os.sched_getaffinity(0))
