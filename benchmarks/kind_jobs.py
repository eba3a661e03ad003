"""The fan-outs of `bench_kinds.py`, as jobs."""

import os
from typing import Any

import dagster as dg
import kind_work as work
from kept import kept

from project_fanout.orchestration import UnitPoolResource, build_fanout_asset, fanout_executor


class Model(dg.ConfigurableResource):  # type: ignore[type-arg]  # its value is itself
    """The object of 300 MB, loaded once in the run."""

    def for_units(self) -> Any:
        return work.load(os.environ["BENCHMARK_MODEL"])


#: By name: the stage, and what resources give to it.
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "fetch": (work.fetch, {}),
    "fetch_async": (work.fetch_async, {"session": work.session}),
    "wait": (work.wait, {}),
    "use": (work.use, {"model": work.model}),
    "use_shared": (work.use, {"model": Model()}),
    "infer": (work.infer, {"trees": work.trees}),
    "infer_batch": (work.infer_batch, {"trees": work.trees}),
    "multiply": (work.multiply, {}),
    "leak": (work.leak, {}),
}


def job() -> dg.JobDefinition:
    """The job of the kind that the environment names."""
    name = os.environ["BENCHMARK_KIND"]
    stage, resources = KINDS[name]
    asset = build_fanout_asset(
        name, records=work.find, stages=[stage], resources=resources, io_manager_key="kept"
    )
    return dg.Definitions(
        [asset],
        jobs=[dg.define_asset_job("job", [asset])],
        executor=fanout_executor,
        resources={"unit_pool": UnitPoolResource.configure_at_launch(), "kept": kept},
    ).resolve_job_def("job")
