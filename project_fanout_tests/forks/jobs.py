"""Jobs under `fanout_executor`, which reads them from this module."""

import pickle
from pathlib import Path
from typing import Any

import dagster as dg

from project_fanout.forks.actions import Action
from project_fanout.forks.assets import c1, c2, generate
from project_fanout.forks.consume import each_value
from project_fanout.forks.fork_asset import build_fork_asset
from project_fanout.orchestration import UnitPoolResource, build_fanout_asset, fanout_executor
from project_fanout_tests.forks.fork_stages import add_one, consume_together, double, finish, shout, start


def stored(instance: dg.DagsterInstance, asset: str) -> Any:
    """The value of *asset* that its last run has stored."""
    return pickle.loads((Path(instance.storage_directory()) / asset).read_bytes())


def job(*assets: dg.AssetsDefinition, **resources: Any) -> dg.JobDefinition:
    return dg.Definitions(
        assets=assets,
        jobs=[dg.define_asset_job("everything")],
        resources=resources,
        executor=fanout_executor,
    ).resolve_job_def("everything")


def many_tasks() -> dg.JobDefinition:
    actions = [double, shout, Action("double_and_one", [double, add_one])]
    return job(build_fork_asset("many", actions=actions), unit_pool=UnitPoolResource(kind="inline"))


def resumable() -> dg.JobDefinition:
    actions = [Action("chain", [start, finish])]
    return job(build_fork_asset("chains", actions=actions), unit_pool=UnitPoolResource(kind="inline"))


def consumed_twice() -> dg.JobDefinition:
    return job(generate, c1, c2, unit_pool=UnitPoolResource(max_workers=2))


def consumed_together() -> dg.JobDefinition:
    """The same two assets, but the first unit of each waits until the other's is at work, too."""
    twins = [
        build_fanout_asset(
            name,
            records=each_value,
            stages=[consume_together],
            ins={"generate": generate},
            params={"extra_param1": "hello world", "name": name, "other": other, **more},
        )
        for name, other, more in (("c1", "c2", {}), ("c2", "c1", {"extra_param2": "123"}))
    ]
    return job(generate, *twins, unit_pool=UnitPoolResource(max_workers=2))
