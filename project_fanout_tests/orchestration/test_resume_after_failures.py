from pathlib import Path

import dagster as dg

from project_fanout.orchestration import UnitPoolResource, build_fanout_asset, fanout_executor
from project_fanout_tests.orchestration import mending_work


def mending_job() -> dg.JobDefinition:
    """Return the job of one fan-out asset under `fanout_executor`."""
    asset = build_fanout_asset(
        "mended", records=mending_work.find_records, stages=[mending_work.work_or_fail]
    )
    return dg.Definitions(
        assets=[asset],
        jobs=[dg.define_asset_job("mending", [asset])],
        resources={"unit_pool": UnitPoolResource(max_workers=1)},
        executor=fanout_executor,
    ).resolve_job_def("mending")


def test_re_executed_from_failure_the_failed_units_are_tried_again(tmp_path: Path) -> None:
    """After the cause is gone, re-executing from failure runs the units without success, and no other.

    To Dagster their steps were successes, and it runs the collect step alone.
    """
    (home := tmp_path / "home").mkdir()
    config = {"ops": {"mended": {"config": {"params": {"folder": str(tmp_path)}}}}}
    journal = tmp_path / "journal"
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        job = dg.reconstructable(mending_job)

        def again(run_id: str) -> dg.JobExecutionResult:
            options = dg.ReexecutionOptions.from_failure(run_id, instance)
            return dg.execute_job(job, instance, run_config=config, reexecution_options=options)

        first = dg.execute_job(job, instance, run_config=config)
        assert not first.success
        assert len(journal.read_text().split()) == 9
        second = again(first.run_id)
        assert not second.success
        assert journal.read_text().split()[9:] == ["11"]
        (tmp_path / "mended").touch()
        third = again(second.run_id)
        assert third.success
        assert journal.read_text().split()[10:] == ["11"]
        (materialization,) = third.asset_materializations_for_node("mended.collect_records")
    assert materialization.metadata["succeeded"].value == 9
