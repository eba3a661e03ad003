"""`step_dependency_config` means what it means under Dagster's own executors."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from project_fanout_tests.instances import local_instance
from project_fanout_tests.nightly import examples
from project_fanout_tests.orchestration.executor import dependency_jobs, streaming_jobs


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with local_instance(tmp_path_factory.mktemp("instance")) as instance:
        yield instance


def outcomes(result: dg.JobExecutionResult) -> dict[str | None, str]:
    """Return how each step has ended that has ended."""
    ends = {"STEP_SUCCESS", "STEP_FAILURE", "STEP_SKIPPED"}
    return {
        event.step_key: event.event_type_value
        for event in result.all_events
        if event.event_type_value in ends
    }


def execute(
    instance: dg.DagsterInstance, name: str, executor: str, run_config: dict[str, Any]
) -> dg.JobExecutionResult:
    job = dependency_jobs.reconstructable(name, executor)
    return dg.execute_job(job, instance, run_config=run_config)


def test_a_step_starts_when_its_input_is_there(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """A step that takes one output of another runs while that one goes on to its next output."""
    run_config = {**dependency_jobs.config(), **streaming_jobs.config(tmp_path)}
    run_config["execution"] = dependency_jobs.config()["execution"]
    with execute(instance, "going_on", "fanout", run_config) as result:
        assert result.success
        assert result.output_for_node("add") == 3
    started = [event.step_key for event in result.all_events if event.is_step_start]
    assert started == ["goes_on", "uses_first", "add"]


@pytest.mark.parametrize("required", [True, False], ids=["upstream success", "upstream outputs"])
def test_what_fails_and_skips_keeps_the_same_steps_from_running(
    instance: dg.DagsterInstance, required: bool
) -> None:
    """With either setting the same steps succeed, fail, skip and never run as under Dagster's executor."""
    run_config = dependency_jobs.config()
    run_config["execution"]["config"]["step_dependency_config"] = {"require_upstream_step_success": required}
    expected = outcomes(execute(instance, "many_kinds", "in_process", run_config))
    actual = outcomes(execute(instance, "many_kinds", "fanout", run_config))
    # Whether a step that lacks one output and skips another is skipped or left out is a matter of which
    # comes first, under Dagster's executor too.
    for ended in (expected, actual):
        ended.pop("on_none_and_a", None)
    assert actual == expected
    assert ("on_a_and_b" in actual) != required


def test_no_step_starts_before_its_value_is_stored(instance: dg.DagsterInstance) -> None:
    """A hundred outputs of one step, each stored some time after it was yielded, are all there when used."""
    assert execute(instance, "stored_late", "fanout", dependency_jobs.config(max_concurrent=8)).success


def test_a_list_of_which_one_is_skipped_is_not_waited_for(instance: dg.DagsterInstance) -> None:
    """A step that takes a list runs with those that have come; under Dagster 1.13 such a run never ends."""
    steps = [
        {"does": ["x"], "takes": []},
        {"does": [], "takes": []},
        {"does": ["x"], "takes": [[(0, "x"), (1, "x")]]},
    ]
    result = execute(instance, json.dumps(steps), "fanout", dependency_jobs.config())
    assert outcomes(result) == dict.fromkeys(["op0", "op1", "op2"], "STEP_SUCCESS")


@st.composite
def graphs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Graphs of two to six ops, each with outputs, failures, and inputs of one output or of a list."""
    steps: list[dict[str, Any]] = []
    for number in range(draw(st.integers(2, 6))):
        does = draw(st.permutations(["x", "y", "fail"]))[: draw(st.integers(0, 3))]
        outputs = st.tuples(st.integers(0, number - 1), st.sampled_from("xy")) if number else st.nothing()
        one_input = st.lists(outputs, min_size=1, max_size=1)
        steps.append({"does": does, "takes": draw(st.lists(one_input, max_size=3)) if number else []})
    return steps


@pytest.mark.slow
@settings(max_examples=examples(12, at_night=25), deadline=None)
@given(steps=graphs(), required=st.booleans())
def test_any_graph_runs_the_same_steps_as_in_process(steps: list[dict[str, Any]], required: bool) -> None:
    """Of any graph the same steps run and end the same way, whichever setting holds."""
    run_config = {
        "execution": {
            "config": {"step_dependency_config": {"require_upstream_step_success": required}},
        }
    }
    ended = []
    for executor in ("in_process", "fanout"):
        with dg.DagsterInstance.ephemeral() as instance:
            result = execute(instance, json.dumps(steps), executor, run_config)
            ended.append({step: end for step, end in outcomes(result).items() if end != "STEP_SKIPPED"})
    assert ended[0] == ended[1]
