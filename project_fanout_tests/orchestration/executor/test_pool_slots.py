"""Steps in a concurrency pool of the instance, one at a time."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from project_fanout.orchestration import UnitPoolResource, build_fanout_asset, fanout_executor
from project_fanout.orchestration.executor.pool_slots import PoolSlots
from project_fanout_tests.instances import with_tables
from project_fanout_tests.orchestration.documents import count_words, read_documents


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "home"
    with_tables(home)
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        instance.event_log_storage.set_concurrency_slots("one", 1)
        yield instance


def test_a_slot_that_is_given_back_goes_to_the_step_that_waits_longest(instance: dg.DagsterInstance) -> None:
    """At once: Dagster looks again after a second, and after up to 15."""
    run = instance.create_run_for_job(dg.GraphDefinition(name="nothing").to_job())
    with PoolSlots(instance, run) as slots:
        assert [slots.claim("one", step) for step in "abc"] == [True, False, False]
        assert [slots.claim("one", step) for step in "bc"] == [False, False]
        slots.free_step("a")
        assert [slots.claim("one", step) for step in "cb"] == [False, True]
        slots.free_step("b")
        assert slots.claim("one", "c")
        slots.free_step("c")


class AwayAtFirst(dg.InMemoryIOManager):
    """Storage that fails once for each mapped step."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Store *obj*, the second time."""
        step = context.step_key
        if "process_record" in step and step not in self.seen:
            self.seen.add(step)
            raise OSError("away")
        super().handle_output(context, obj)


def test_a_run_whose_steps_are_retried_in_a_pool_of_one_slot_ends(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that waits for its next attempt holds no slot that the others wait for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "docs" / f"{name}.txt").write_text("one\ftwo words")
    asset = build_fanout_asset(
        "word_counts",
        records=read_documents,
        stages=[count_words],
        pool="one",
        retry_policy=dg.RetryPolicy(max_retries=1, delay=0.01),
        step_io_manager_key="storage",
    )
    job = dg.Definitions(
        assets=[asset],
        jobs=[dg.define_asset_job("count", [asset])],
        executor=fanout_executor,
        resources={"storage": AwayAtFirst(), "unit_pool": UnitPoolResource(kind="inline")},
    ).resolve_job_def("count")
    result = job.execute_in_process(instance=instance)
    assert sum(event.event_type_value == "STEP_UP_FOR_RETRY" for event in result.all_events) == 3
    assert len(result.asset_value("word_counts")) == 6
    assert instance.event_log_storage.get_concurrency_info("one").claimed_slots == []
