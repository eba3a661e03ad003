"""What the steps of a fan-out leave with the IO manager: found again where it is needed, removed where not."""

import pathlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import dagster as dg

#: Name of the trigger's DynamicOutput.
RECORDS = "records"


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """The records of one mapped step.

    Args:
        mapping_key: of the trigger's DynamicOutput that holds them.
        record_keys: their keys.
        units: how many units they have together.
        origins: `RecordState.origin` of each, in the order of the keys.
    """

    mapping_key: str
    record_keys: tuple[str, ...]
    units: int
    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """All records that a trigger has yielded. Their units are not in it: they are stored once, as outputs.

    Args:
        run_id: the run that the trigger ran in.
        step_key: the trigger's step.
        entries: the mapped steps, in the order of the records.
    """

    run_id: str
    step_key: str
    entries: tuple[ManifestEntry, ...]

    @property
    def record_keys(self) -> list[str]:
        """The keys of all records, in order."""
        return [key for entry in self.entries for key in entry.record_keys]

    @property
    def origins(self) -> dict[str, str]:
        """By record key, the digest of what the trigger has yielded at last."""
        return {
            key: origin
            for entry in self.entries
            for key, origin in zip(entry.record_keys, entry.origins, strict=True)
        }

    @property
    def units(self) -> int:
        """How many units all records have together."""
        return sum(entry.units for entry in self.entries)

    def load(self, entry: ManifestEntry, context: dg.OpExecutionContext, io_manager_key: str) -> Any:
        """Return what the trigger has stored for *entry* with the IO manager of that key."""
        stored = _output_context(context.resources, self.run_id, self.step_key, RECORDS, entry.mapping_key)
        load_context = dg.InputContext(
            name="batch", upstream_output=stored, resources=context.resources, log_manager=context.log
        )
        return getattr(context.resources, io_manager_key).load_input(load_context)


def remove_intermediates(context: dg.HookContext, io_manager_key: str) -> int:
    """Remove what the other steps of this step's graph have stored in this run; return how many outputs.

    Nothing is removed with an IO manager that does not keep files by run, step and output, as Dagster's
    own for file systems and object stores do.
    """
    io_manager = getattr(context.resources, io_manager_key)
    if not isinstance(io_manager, dg.UPathIOManager):
        return 0
    graph = context.step_key.rpartition(".")[0]
    removed = 0
    run_id = context.run_id
    for entry in context.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_OUTPUT):
        output = entry.get_dagster_event().step_output_data.step_output_handle
        if output.step_key == context.step_key or not output.step_key.startswith(f"{graph}."):
            continue
        path = io_manager._get_path(
            _output_context(
                context.resources, run_id, output.step_key, output.output_name, output.mapping_key
            )
        )
        # An IO manager that keeps one file for all runs keeps it for the next one, too.
        if run_id in path.parts and io_manager.path_exists(path):
            io_manager.unlink(path)
            _remove_empty_folders(path, run_id)
            removed += 1
    return removed


def _output_context(
    resources: Any, run_id: str, step_key: str, name: str, mapping_key: str | None
) -> dg.OutputContext:
    # With the step's own resources: without any Dagster makes an instance to build none, in 50 ms.
    return dg.OutputContext(
        run_id=run_id, step_key=step_key, name=name, mapping_key=mapping_key, resources=resources
    )


def _remove_empty_folders(path: Any, run_id: str) -> None:
    # Only on this machine: in an object store there are no folders, and rmdir removes all that is there.
    if isinstance(path, pathlib.Path):
        with suppress(OSError):
            for folder in path.parents:
                folder.rmdir()
                if folder.name == run_id:
                    return
