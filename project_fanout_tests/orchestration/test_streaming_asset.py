from pathlib import Path

import dagster as dg

from project_fanout.orchestration import UnitPoolResource, build_fanout_asset, fanout_executor
from project_fanout_tests.orchestration.executor import streaming_work


def streaming_job() -> dg.JobDefinition:
    """Return the job of one fan-out asset under `fanout_executor`."""
    asset = build_fanout_asset(
        "streamed", records=streaming_work.find_records, stages=[streaming_work.leave_mark]
    )
    return dg.Definitions(
        assets=[asset],
        jobs=[dg.define_asset_job("streaming", [asset])],
        resources={"unit_pool": UnitPoolResource(max_workers=1)},
        executor=fanout_executor,
    ).resolve_job_def("streaming")


def test_units_run_while_the_records_are_still_being_found(tmp_path: Path) -> None:
    """A record's units run before the next record has been found, so a slow list costs no waiting.

    Each record here is found only once a unit of the one before has ended: with a barrier between
    trigger and records, the trigger would wait in vain.
    """
    (home := tmp_path / "home").mkdir()
    (marks := tmp_path / "marks").mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        config = {"ops": {"streamed": {"config": {"params": {"marks": str(marks)}}}}}
        result = dg.execute_job(dg.reconstructable(streaming_job), instance, run_config=config)
        assert result.success
        (materialization,) = result.asset_materializations_for_node("streamed.collect_records")
    assert materialization.metadata["succeeded"].value == 3
