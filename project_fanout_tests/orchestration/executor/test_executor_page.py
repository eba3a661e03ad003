"""docs/executor.md says what is so: its examples run, and README's."""

import importlib
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from project_fanout_tests.orchestration.executor import executor_jobs
from project_fanout_tests.pages import blocks, page, written

PAGE = page("docs/executor.md")


@pytest.mark.parametrize(
    ("text", "module", "job", "steps"),
    [
        (PAGE, "report", "daily_report", {"orders", "prices", "stock", "report"}),
        (page("README.md"), "queries", "daily_figures", {"orders", "returns", "net"}),
    ],
    ids=["docs/executor.md", "README"],
)
def test_a_job_without_a_fan_out_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, module: str, job: str, steps: set[str]
) -> None:
    """The example of any job runs as it stands, its steps in threads."""
    assert f"{module}.py" in written(text, tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        with dg.DagsterInstance.ephemeral() as instance:
            definition = getattr(importlib.import_module(module), job)
            result = dg.execute_job(dg.reconstructable(definition), instance)
    finally:
        sys.modules.pop(module, None)

    assert result.success
    assert any("Executing steps in up to" in (event.message or "") for event in result.all_events)
    assert {event.step_key for event in result.all_events if event.is_step_success} == steps


@pytest.mark.parametrize("block", blocks(PAGE, "yaml"))
def test_the_run_config_is_accepted(block: str) -> None:
    """The settings shown are all that a job with this executor takes."""
    job = executor_jobs.job("mapped", "fanout")
    shown = yaml.safe_load(block)
    assert dg.validate_run_config(job, shown)
    assert set(shown["execution"]["config"]) == set(job.executor_def.config_schema.config_type.fields)
