"""Mapped steps start while the list of records is still being made, and never too early."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from project_fanout_tests.instances import local_instance
from project_fanout_tests.orchestration.executor import streaming_jobs


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with local_instance(tmp_path_factory.mktemp("instance")) as instance:
        yield instance


def steps_with(instance: dg.DagsterInstance, run_id: str, event_type: str) -> Counter[str | None]:
    """Return how often each step has had an event of *event_type*."""
    return Counter(
        entry.step_key
        for entry in instance.all_logs(run_id)
        if entry.dagster_event and entry.dagster_event.event_type_value == event_type
    )


def test_a_record_runs_through_its_chain_while_the_list_is_made(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """The first record's last step ends before the trigger yields the second; collect comes last.

    The trigger waits, before it yields the second record, for a file that the first record's second
    step writes; the collect op fails unless the trigger has written its last.
    """
    job = streaming_jobs.reconstructable("streaming")
    with dg.execute_job(job, instance, run_config=streaming_jobs.config(tmp_path)) as result:
        assert result.success
        assert result.output_for_node("collect") == 3


def test_under_load_no_step_starts_before_its_value_is_stored(instance: dg.DagsterInstance) -> None:
    """250 mapped steps, at night 1,000, 16 at a time: each starts after its own value has been handled, and once."""
    config = {"execution": {"config": {"max_concurrent": 16}}}
    result = dg.execute_job(streaming_jobs.reconstructable("many_steps"), instance, run_config=config)
    assert result.success, [event.message for event in result.all_events if event.is_step_failure][:3]
    stored: set[str | None] = set()
    started: list[str | None] = []
    yielded: str | None = None
    for entry in instance.all_logs(result.run_id):
        event = entry.dagster_event
        if event is None:
            continue
        if event.step_key == "many" and event.is_successful_output:
            yielded = f"cheap[{event.step_output_data.mapping_key}]"
        elif event.step_key == "many" and event.is_handled_output:
            stored.add(yielded)
        elif event.is_step_start and event.step_key != "many":
            assert event.step_key in stored
            started.append(event.step_key)
    assert len(started) == len(set(started)) == streaming_jobs.MANY
    step_keys = [entry.step_key for entry in instance.all_logs(result.run_id)]
    last_of_trigger = len(step_keys) - step_keys[::-1].index("many")
    assert step_keys.index("cheap[k0]") < last_of_trigger


def test_a_trigger_that_fails_half_way_starts_nothing_new(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """What has started finishes, nothing else starts, collect does not run, and the run has failed.

    Re-executed from failure, the job does what is missing and collects everything.
    """
    job = streaming_jobs.reconstructable("broken_off")
    config = streaming_jobs.config(tmp_path, max_concurrent=2)
    first = dg.execute_job(job, instance, run_config=config)
    assert not first.success
    started = steps_with(instance, first.run_id, "STEP_START")
    ended = steps_with(instance, first.run_id, "STEP_SUCCESS")
    assert started == Counter(["fails_half_way", "work[a]"])
    assert ended == Counter(["work[a]"])
    assert "collected" not in {path.name for path in tmp_path.iterdir()}

    again = dg.ReexecutionOptions.from_failure(first.run_id, instance)
    with dg.execute_job(job, instance, run_config=config, reexecution_options=again) as second:
        assert second.success
        assert second.output_for_node("collect_any") == list(range(8))


def test_a_retried_trigger_neither_repeats_nor_loses_a_record(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """A trigger with a RetryPolicy breaks off and yields its list again, and one record more.

    It stores what the records' steps read once more: so it waits for the one that runs, and those that
    have not started, since there is room for two steps at once, wait for it.
    """
    job = streaming_jobs.reconstructable("retried_trigger")
    config = streaming_jobs.config(tmp_path, max_concurrent=2)
    with dg.execute_job(job, instance, run_config=config) as result:
        assert result.success
        assert result.output_for_node("collect_any") == [0, 1, 2, 3, 4]
    assert steps_with(instance, result.run_id, "STEP_SUCCESS") == Counter(
        ["retried_half_way", *(f"work[{key}]" for key in "abcde"), "collect_any"]
    )
    assert steps_with(instance, result.run_id, "STEP_RESTARTED") == Counter(["retried_half_way"])
    assert not [
        path.name for path in tmp_path.iterdir() if path.name.endswith("#2") and "run of" in path.name
    ]
    events = [
        (entry.dagster_event.event_type_value, entry.step_key)
        for entry in instance.all_logs(result.run_id)
        if entry.dagster_event
    ]
    again = events.index(("STEP_RESTARTED", "retried_half_way"))
    assert events.index(("STEP_SUCCESS", "work[a]")) < again
    assert min(events.index(("STEP_START", f"work[{key}]")) for key in "bcde") > again


def test_a_record_under_way_is_finished_before_the_next_is_begun(instance: dg.DagsterInstance) -> None:
    """With all records known and room for one step, each record goes through its whole chain in turn."""
    config = {"execution": {"config": {"max_concurrent": 1}}}
    result = dg.execute_job(streaming_jobs.reconstructable("one_by_one"), instance, run_config=config)
    assert result.success
    started = [event.step_key for event in result.all_events if event.is_step_start]
    chains = [f"{op}[k{number}]" for number in range(3) for op in ("first", "then")]
    assert started == ["three_items", *chains, "add_up"]
