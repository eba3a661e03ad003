"""When all work is done: what costs the run, and what does not."""

from typing import Any

import dagster as dg
import pytest

from project_fanout.engine import Record, Unit
from project_fanout.orchestration import UnitPoolResource, build_fanout_asset, fanout_executor
from project_fanout_tests.orchestration.support import failure_text


class Storage(dg.InMemoryIOManager):
    """One that is away for the first times that something is stored."""

    def __init__(self, away: int) -> None:
        super().__init__()
        self.away = away

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store *obj* if the storage is there."""
        if self.away:
            self.away -= 1
            raise ConnectionResetError("the storage is away")
        super().handle_output(context, obj)


def one() -> list[Record]:
    return [Record("a", [Unit("1", 1), Unit("2", 0)])]


def inverse(unit: Unit[int]) -> float:
    return 1 / unit.payload


def double(unit: Unit[int]) -> int:
    return unit.payload * 2


def run(storage: Storage, executor: dg.ExecutorDefinition, **options: Any) -> dg.ExecuteInProcessResult:
    asset = build_fanout_asset("made", records=one, io_manager_key="storage", **options)
    definitions = dg.Definitions(
        assets=[asset],
        jobs=[dg.define_asset_job("make", [asset])],
        executor=executor,
        resources={"storage": storage, "unit_pool": UnitPoolResource(kind="inline")},
    )
    return definitions.resolve_job_def("make").execute_in_process(raise_on_error=False)


def events(result: dg.ExecuteInProcessResult, kind: str) -> int:
    return sum(
        event.event_type_value == kind and event.step_key == "made.collect_records"
        for event in result.all_events
    )


@pytest.mark.parametrize("executor", [dg.in_process_executor, fanout_executor], ids=["in_process", "fanout"])
def test_a_storage_that_comes_back_gets_the_asset(executor: dg.ExecutorDefinition) -> None:
    """The units are not run again; the collect step is."""
    result = run(Storage(away=1), executor, stages=[double])
    assert result.success
    assert events(result, "STEP_UP_FOR_RETRY") == 1
    assert len(result.asset_materializations_for_node("made.collect_records")) == 1


def refuse(_: object) -> None:
    raise ValueError("this table will never do")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"stages": [inverse]}, "1 of 2 units ended without success"),
        ({"stages": [double], "aggregate": refuse}, "this table will never do"),
    ],
    ids=["too many failures", "an aggregate that fails"],
)
def test_what_would_fail_again_fails_at_once(options: dict[str, Any], reason: str) -> None:
    """Also with a retry policy of one's own."""
    policy = dg.RetryPolicy(max_retries=3)
    result = run(Storage(away=0), dg.in_process_executor, retry_policy=policy, **options)
    assert not result.success
    assert reason in failure_text(result)
    assert events(result, "STEP_UP_FOR_RETRY") == 0
