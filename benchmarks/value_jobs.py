"""The fan-outs of the benchmark of values, as jobs."""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
import frame_units
from kept import kept

from project_fanout.orchestration import UnitPoolResource, build_fanout_asset, fanout_executor


def _job(name: str, stages: Sequence[Callable[..., Any]]) -> dg.JobDefinition:
    asset = build_fanout_asset(name, records=frame_units.find_records, stages=stages, io_manager_key="kept")
    return dg.Definitions(
        [asset],
        jobs=[dg.define_asset_job("job", [asset])],
        executor=fanout_executor,
        resources={"unit_pool": UnitPoolResource(max_workers=2), "kept": kept},
    ).resolve_job_def("job")


def frames() -> dg.JobDefinition:
    """Units that return frames."""
    return _job("frames", [frame_units.make_frame])


def arrays() -> dg.JobDefinition:
    """Units that hand an array to the next stage."""
    return _job("arrays", [frame_units.make_array, frame_units.mean_of_array])
