"""Materialise fan-out assets in tests, and read what their runs left."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import pandas as pd

from project_fanout.orchestration import UnitPoolResource

#: Runs units in the step: for tests of everything but the processes.
INLINE: Mapping[str, Any] = {"unit_pool": UnitPoolResource(kind="inline")}


def materialize(asset: dg.AssetsDefinition, *others: Any, **options: Any) -> dg.ExecuteInProcessResult:
    """Materialise *asset*, and *others* before it, in memory with an inline pool.

    The run config of *asset* may be given as `params=` and `policy=`.
    """
    config = {name: options.pop(name) for name in ("params", "policy") if name in options}
    if config:
        options["run_config"] = {"ops": {asset.node_def.name: {"config": config}}}
    options.setdefault("resources", INLINE)
    return dg.materialize_to_memory([*others, asset], **options)


def table(asset: dg.AssetsDefinition, *others: Any, **options: Any) -> pd.DataFrame:
    """Materialise *asset* and return its value."""
    frame: pd.DataFrame = materialize(asset, *others, **options).output_for_node(asset.node_def.name)
    return frame


def materialization(result: dg.ExecuteInProcessResult, asset: dg.AssetsDefinition) -> dict[str, Any]:
    """Return the metadata values of the one materialization of *asset*."""
    (event,) = result.asset_materializations_for_node(asset.node_def.name)
    return {name: value.value for name, value in event.metadata.items()}


def mapped_steps(result: dg.ExecuteInProcessResult, op: str = "process_record") -> list[str]:
    """Return the mapping keys of the steps of *op*, in the order in which they started."""
    return [
        event.step_key.partition("[")[2].rstrip("]")
        for event in result.all_events
        if event.event_type_value == "STEP_START" and event.step_key and f".{op}[" in event.step_key
    ]


def failure_text(result: Any) -> str:
    """Return the error of the step that failed, with its causes."""
    [event] = [event for event in result.all_events if event.is_step_failure]
    return str(event.event_specific_data.error_display_string)


def assert_same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Assert that two tables are equal in all but the one column that depends on the clock."""
    pd.testing.assert_frame_equal(one.drop(columns="seconds"), other.drop(columns="seconds"))
