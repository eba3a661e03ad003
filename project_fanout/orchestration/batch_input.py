"""How a stage gets its records from the stage before: also where that never ran, in an interrupted run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import dagster as dg

from project_fanout.engine.step_batches import Batch

#: Metadata of an input whose op takes each batch when it wants it, as a `StoredBatch`.
LATER = {"fanout/later": True}


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch of records that a step has stored.

    Args:
        mapping_key: of the mapped step.
        load: loads it, each time anew.
    """

    mapping_key: str
    load: Callable[[], Batch]


def batch_input_key(io_manager_key: str) -> str:
    """Return the resource key of the input manager that goes with the IO manager *io_manager_key*."""
    return f"{io_manager_key}_of_fanout_batches"


@cache  # a job refuses two resources of one key that are not the same object
def batch_input_manager(io_manager_key: str) -> dg.ResourceDefinition:
    """Return what loads a batch of records that an earlier stage has stored with *io_manager_key*.

    Where no run of the lineage has stored it, the batch is empty, and the collect op runs its records.
    Re-executed "from failure" after a kill that came before any record was through the first stage,
    Dagster starts the steps of the later stages for all records, also for those whose first stage it
    passes over.
    """

    @dg.input_manager(
        required_resource_keys={io_manager_key},
        description="Loads what the stage before has stored, nothing where it never ran.",
    )
    def load_batch(context: dg.InputContext) -> Any:
        assert context.upstream_output is not None  # it is the input of an op inside the asset's graph
        io_manager = getattr(context.resources, io_manager_key)
        if LATER.items() <= (context.definition_metadata or {}).items():
            # Its output has no mapping key: the step has.
            mapping_key = context.upstream_output.step_key.partition("[")[2].removesuffix("]")
            return StoredBatch(mapping_key, partial(_load, context, io_manager))
        return _load(context, io_manager)

    return load_batch


def _load(context: dg.InputContext, io_manager: Any) -> Any:
    assert context.upstream_output is not None
    try:
        context.upstream_output.get_identifier()
    except dg.DagsterInvariantViolationError:
        # Dagster looks for the run that stored the output, and leaves its id out where there is none.
        return ()
    return io_manager.load_input(context)
