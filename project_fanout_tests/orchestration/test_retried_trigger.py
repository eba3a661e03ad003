from pathlib import Path

import dagster as dg

from project_fanout.orchestration import build_fanout_asset, fanout_executor
from project_fanout_tests.orchestration import growing_work


def growing_job() -> dg.JobDefinition:
    """Return the job of one fan-out asset whose steps are retried once."""
    asset = build_fanout_asset(
        "grown",
        records=growing_work.find_records,
        stages=[growing_work.leave_mark],
        retry_policy=dg.RetryPolicy(max_retries=1),
    )
    return dg.Definitions(
        assets=[asset], jobs=[dg.define_asset_job("growing", [asset])], executor=fanout_executor
    ).resolve_job_def("growing")


def test_the_last_attempt_of_the_trigger_counts(tmp_path: Path) -> None:
    """A list that broke off half-way and was read again: the table has the records as they were found at last.

    What the first attempt has found otherwise is run again as far as it differs, and nothing else is.
    """
    (home := tmp_path / "home").mkdir()
    (marks := tmp_path / "marks").mkdir()
    config = {"ops": {"grown": {"config": {"params": {"folder": str(marks)}}}}}
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        result = dg.execute_job(dg.reconstructable(growing_job), instance, run_config=config)
        assert result.success
        (materialization,) = result.asset_materializations_for_node("grown.collect_records")
    assert materialization.metadata["units"].value == 5
    runs = {path.name: path.read_text().split() for path in marks.glob("done *")}
    assert runs == {"done a": ["1"], "done b": ["1", "2"], "done c": ["1"], "done d": ["1"], "done e": ["1"]}
