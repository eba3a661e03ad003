"""The same fan-out under every executor, as jobs that other processes can load."""

import dagster as dg
import units

from project_fanout.engine import FanoutPolicy
from project_fanout.orchestration import LedgerResource, UnitPoolResource, build_fanout_asset, fanout_executor

WORKERS = 2


def _job(
    name: str, executor: dg.ExecutorDefinition, policy: FanoutPolicy, kind: str, *, ledger: bool = True
) -> dg.JobDefinition:
    asset = build_fanout_asset("burned", records=units.find_records, stages=[units.work], policy=policy)
    return dg.Definitions(
        assets=[asset],
        jobs=[dg.define_asset_job(name, [asset])],
        executor=executor,
        resources={
            "unit_pool": UnitPoolResource(kind=kind, max_workers=WORKERS),
            "ledger": LedgerResource(enabled=ledger),
        },
    ).resolve_job_def(name)


def fanout_parallel() -> dg.JobDefinition:
    """`fanout_executor`, all units of a record at once."""
    return _job("fanout_parallel", fanout_executor, FanoutPolicy(strategy="parallel"), "process")


def fanout_auto() -> dg.JobDefinition:
    """`fanout_executor` and the default policy: as many units of a record at once as keep the pool busy."""
    return _job("fanout_auto", fanout_executor, FanoutPolicy(), "process")


def fanout_sequential() -> dg.JobDefinition:
    """`fanout_executor`, a record's units one after the other."""
    return _job("fanout_sequential", fanout_executor, FanoutPolicy(strategy="sequential"), "process")


def in_process() -> dg.JobDefinition:
    """Dagster's in-process executor over the same pool: records one after the other."""
    return _job("in_process", dg.in_process_executor, FanoutPolicy(strategy="parallel"), "process")


def multiprocess() -> dg.JobDefinition:
    """Dagster's default: a new process per step, which runs its record's units itself."""
    executor = dg.multiprocess_executor.configured({"max_concurrent": WORKERS})
    return _job("multiprocess", executor, FanoutPolicy(strategy="sequential"), "inline", ledger=False)
