"""Async ops and async resources work as under Dagster's in-process executor, and what they await overlaps."""

import asyncio
import threading
from collections.abc import Iterator

import dagster as dg
import pytest

from project_fanout_tests.instances import local_instance
from project_fanout_tests.orchestration.executor import async_jobs
from project_fanout_tests.orchestration.executor.test_executor_equality import history


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with local_instance(tmp_path_factory.mktemp("instance")) as instance:
        yield instance


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Every test leaves no thread behind, neither a step's nor an event loop's."""
    before = set(threading.enumerate())
    async_jobs.told.clear()
    async_jobs.sync_step_ran.clear()
    yield
    left = [thread.name for thread in set(threading.enumerate()) - before]
    assert [name for name in left if name.startswith(("step", "event loop"))] == []


def execute(instance: dg.DagsterInstance, name: str, executor: str) -> dg.JobExecutionResult:
    return dg.execute_job(async_jobs.reconstructable(name, executor), instance)


@pytest.mark.parametrize(
    "name",
    [
        "async_resource",
        "two_async_resources",
        "async_generator",
        "async_trigger",
        "async_failure",
        "async_retries",
        "async_timeout",
        "async_subprocess",
        "async_resource_failure",
        "leaving",
        "giving_up",
    ],
)
def test_an_async_job_does_the_same_as_in_process(instance: dg.DagsterInstance, name: str) -> None:
    """Resource and ops share one event loop in one thread; every step has the same events.

    So it is when a coroutine raises, is cancelled, or ends in `sys.exit()`.
    """
    with dg.DagsterInstance.ephemeral() as in_memory:  # which is quicker, and as good to say what is expected
        expected = history(in_memory, execute(in_memory, name, "in_process").run_id)
    actual = history(instance, execute(instance, name, "fanout").run_id)
    assert actual == expected
    fails = {"async_failure", "async_timeout", "async_resource_failure", "leaving", "giving_up"}
    assert (expected[0] is dg.DagsterRunStatus.FAILURE) == (name in fails)


@pytest.mark.parametrize("executor", async_jobs.EXECUTORS)
def test_a_coroutine_sees_the_context_variables_of_its_caller(
    instance: dg.DagsterInstance, executor: str
) -> None:
    """What the caller of the run has set is seen in ops and resources; what an op sets stays its own."""
    token = async_jobs.called_by.set("the test")
    try:
        assert execute(instance, "in_context", executor).success
    finally:
        async_jobs.called_by.reset(token)
    assert async_jobs.told == [("op", "the test")] * 3 + [("closed", "the test")]


def test_ops_await_at_the_same_time_and_their_logs_stay_apart(instance: dg.DagsterInstance) -> None:
    """Three ops that wait for each other get on, and every line they log is in the log of its own step, once."""
    result = execute(instance, "meeting", "fanout")
    assert result.success
    lines = [
        (entry.user_message, entry.step_key)
        for entry in instance.all_logs(result.run_id)
        if not entry.dagster_event and " log of " in entry.user_message
    ]
    assert sorted(lines) == [
        (f"{kind} log of {number}", f"meets_the_others[k{number}]")
        for kind in ("context", "python", "thread")
        for number in range(3)
    ]


def test_an_op_that_blocks_the_loop_does_not_stop_sync_steps(instance: dg.DagsterInstance) -> None:
    """An async op that waits without `await` holds up other async ops alone."""
    assert execute(instance, "blocking", "fanout").success


def test_a_task_that_ends_the_loop_ends_no_other_step(instance: dg.DagsterInstance) -> None:
    """`sys.exit()` in a task that nobody awaits stops asyncio's loop; the steps on it go on."""
    assert execute(instance, "losing_a_task", "fanout").success


def test_a_run_inside_of_a_running_loop(instance: dg.DagsterInstance) -> None:
    """Async ops run where the caller has a loop of its own, as in a notebook."""

    async def main() -> bool:
        return execute(instance, "async_resource", "fanout").success

    assert asyncio.run(main())
