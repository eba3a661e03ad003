"""What a job does does not depend on whether this executor or Dagster's in-process executor runs it."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from project_fanout_tests.instances import local_instance
from project_fanout_tests.orchestration.executor import executor_jobs

pytestmark = pytest.mark.slow  # some 70 runs take a quarter of the time that `make quick` has

#: Events that speak of the process, not of the job.
OF_THE_PROCESS = {"ENGINE_EVENT", "LOGS_CAPTURED", "STEP_WORKER_STARTING"}


Instances = dict[str, dg.DagsterInstance]


@pytest.fixture(scope="module")
def instances(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instances]:
    """An instance for each executor; Dagster's, whose runs only say what is expected, in memory: that is quicker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FANOUT_TEST_STORAGE", str(tmp_path_factory.mktemp("assets")))
        folder = tmp_path_factory.mktemp("instance")
        with local_instance(folder) as fanout, dg.DagsterInstance.ephemeral() as in_process:
            instances = {"fanout": fanout, "in_process": in_process}
            assert set(instances) == set(executor_jobs.EXECUTORS)
            for instance in instances.values():
                instance.event_log_storage.set_concurrency_slots("one_at_a_time", 1)
            yield instances


def history(instance: dg.DagsterInstance, run_id: str) -> tuple[Any, Counter[tuple[str | None, str]]]:
    """Return the run's status and how many events of each type each step has."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event]
    counted = Counter(
        (event.step_key, event.event_type_value)
        for event in events
        if event.event_type_value not in OF_THE_PROCESS
    )
    return run.status, counted


def execute(
    instances: Instances, name: str, executor: str, **options: Any
) -> tuple[Any, Counter[tuple[str | None, str]], dict[str, Any]]:
    """Execute a job; return its status, its events, and what its `total` and `echo` have returned."""
    if executor == "fanout" and name == "tag_limited":
        limits = [{"key": "database", "value": "small", "limit": 1}]
        options["run_config"] = {"execution": {"config": {"tag_concurrency_limits": limits}}}
    instance = instances[executor]
    result = dg.execute_job(executor_jobs.reconstructable(name, executor), instance, **options)
    outputs: dict[str, Any] = {}
    if ended := {event.step_key for event in result.all_events if event.is_step_success} & {"total", "echo"}:
        with result:
            outputs = {node: result.output_for_node(node) for node in ended if node}
    return *history(instance, result.run_id), outputs


@pytest.mark.parametrize("name", [*executor_jobs.GRAPHS])
def test_a_job_does_the_same_as_in_process(instances: Instances, name: str) -> None:
    """Every step of the job writes the same events, and the run ends the same, with the same values."""
    expected = execute(instances, name, "in_process")
    assert execute(instances, name, "fanout") == expected


def test_partitioned_assets_and_their_checks_are_the_same(instances: Instances) -> None:
    """Materialisations, check results and what a blocking check keeps from running are the same."""
    expected = execute(instances, "assets", "in_process", tags={"dagster/partition": "a"})
    actual = execute(instances, "assets", "fanout", tags={"dagster/partition": "a"})
    assert actual == expected
    materialised = {step for step, event in expected[1] if event == "ASSET_MATERIALIZATION"}
    assert {"source", "fanned_out.echo"} <= materialised
    assert "after_blocking" not in materialised


def test_a_part_of_a_job_is_the_same(instances: Instances) -> None:
    """A run of selected ops executes these ops and no other."""
    selection = ["three", "add_one"]
    expected = execute(instances, "chain_of_maps", "in_process", op_selection=selection)
    actual = execute(instances, "chain_of_maps", "fanout", op_selection=selection)
    assert actual == expected
    assert {step for step, _ in actual[1] if step} == {
        "three",
        *(f"add_one[k{number}]" for number in range(3)),
    }


@pytest.fixture(scope="module")
def whole_runs(instances: Instances) -> dict[str, str]:
    """The id of a run of all of `chain_of_maps` over each executor."""
    runs = {}
    for executor, instance in instances.items():
        with dg.execute_job(executor_jobs.reconstructable("chain_of_maps", executor), instance) as run:
            assert run.success
        runs[executor] = run.run_id
    return runs


@pytest.mark.parametrize(
    "selection",
    [["add_one[k1]"], ["add_one[k1]*"], ["double[k2]", "total"], ["three*"]],
    ids=["one record", "one record and what follows", "one link of a chain", "everything"],
)
def test_re_executing_steps_is_the_same(
    instances: Instances, whole_runs: dict[str, str], selection: list[str]
) -> None:
    """`process_record[key]` can be executed again, alone or with what follows it."""
    histories = []
    for executor, instance in instances.items():
        job = executor_jobs.reconstructable("chain_of_maps", executor)
        again = dg.ReexecutionOptions(parent_run_id=whole_runs[executor], step_selection=selection)
        with dg.execute_job(job, instance, reexecution_options=again) as second:
            histories.append(history(instance, second.run_id))
    assert histories[0] == histories[1]
    assert histories[0][0] is dg.DagsterRunStatus.SUCCESS


@pytest.mark.parametrize("name", ["failing_record", "failing_emitter", "retries_exhausted"])
def test_re_executing_from_failure_is_the_same(instances: Instances, name: str) -> None:
    """From failure, what has failed and what follows it are executed again, and nothing else."""
    histories = []
    for executor, instance in instances.items():
        job = executor_jobs.reconstructable(name, executor)
        with dg.execute_job(job, instance) as first:
            assert not first.success
        again = dg.ReexecutionOptions.from_failure(first.run_id, instance)
        with dg.execute_job(job, instance, reexecution_options=again) as second:
            histories.append(history(instance, second.run_id))
    assert histories[0] == histories[1]


def test_raise_on_error_raises_what_the_op_raised(instances: Instances) -> None:
    """`raise_on_error=True` raises the op's own exception, and the run has failed."""
    with pytest.raises(ValueError, match="not one"):
        dg.execute_job(
            executor_jobs.reconstructable("failing_record", "fanout"),
            instances["fanout"],
            raise_on_error=True,
        )
    latest = instances["fanout"].get_runs(limit=1)[0]
    assert latest.status is dg.DagsterRunStatus.FAILURE


def test_retries_can_be_disabled(instances: Instances) -> None:
    """With `retries: {disabled: {}}` a step that asks for a retry fails, as under Dagster's executors."""
    config = {"execution": {"config": {"retries": {"disabled": {}}}}}
    expected = execute(instances, "retried_with_delay", "in_process", run_config=config)
    assert execute(instances, "retried_with_delay", "fanout", run_config=config) == expected
    assert expected[0] is dg.DagsterRunStatus.FAILURE
