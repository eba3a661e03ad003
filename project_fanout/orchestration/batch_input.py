"""How a stage gets its records from the stage before: also where that never ran, in an interrupted run."""

from functools import cache
from typing import Any

import dagster as dg


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
        try:
            context.upstream_output.get_identifier()
        except dg.DagsterInvariantViolationError:
            # Dagster looks for the run that stored the output, and leaves its id out where there is none.
            return ()
        return getattr(context.resources, io_manager_key).load_input(context)

    return load_batch
