"""Jobs whose run goes on while their database is broken: each leaves a mark on disk for every unit it runs."""

import os
from collections.abc import Iterator
from typing import Any

import dagster as dg

from project_fanout.orchestration import LedgerResource, UnitPoolResource, build_fanout_asset, fanout_executor
from project_fanout_tests.orchestration.executor.postgres_work import (
    ITEMS,
    LEDGER,
    hash_unit,
    hashed,
    records,
)


@dg.op(out=dg.DynamicOut(int))
def numbers() -> Iterator[dg.DynamicOutput[int]]:
    for number in range(ITEMS):
        yield dg.DynamicOutput(number, f"n{number}")


@dg.op
def talkative(context: dg.OpExecutionContext, number: int) -> str:
    digests = []
    for line in range(4):
        digests.append(hashed(f"{number} {line}"))
        context.log.info(f"line {line} of {number}")
    return "".join(digests)


@dg.op
def table(context: dg.OpExecutionContext, digests: list[str]) -> list[str]:
    context.log_event(dg.AssetMaterialization("digests", tags={"kind": "test"}))
    return digests


@dg.graph
def talkative_graph() -> None:
    table(numbers().map(talkative).collect())


def definitions() -> dg.Definitions:
    return dg.Definitions(
        assets=[build_fanout_asset("digests", records=records, stages=[hash_unit])],
        executor=fanout_executor,
        jobs=[dg.define_asset_job("fanout", selection=["digests"])],
        resources={
            "unit_pool": UnitPoolResource(max_workers=2, niceness=0),
            "ledger": LedgerResource(url=os.environ[LEDGER]),
        },
    )


def job(name: str) -> dg.JobDefinition:
    """Return the job *name*: `ops` or `fanout`."""
    if name == "ops":
        return talkative_graph.to_job(name="ops", executor_def=fanout_executor)
    return definitions().resolve_job_def("fanout")


def reconstructable(name: str) -> Any:
    """Return *name* as `dg.execute_job` takes it."""
    return dg.build_reconstructable_job(__name__, "job", (name,))


def execute(instance: dg.DagsterInstance, name: str) -> tuple[str, Any]:
    """Run the job *name* to its success; return the run's id and what its last step has made."""
    with dg.execute_job(reconstructable(name), instance) as result:
        assert result.success, [event for event in result.all_events if event.is_failure]
        if name == "ops":
            return result.run_id, result.output_for_node("table")
    table = definitions().load_asset_value("digests", instance=instance)
    return result.run_id, table.drop(columns="seconds").to_dict("records")
