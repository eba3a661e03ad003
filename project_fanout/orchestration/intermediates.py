"""What the steps of a fan-out leave with the IO manager: found again where it is needed, removed where not."""

import inspect
import pathlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import dagster as dg

from project_fanout.engine.step_batches import Batch
from project_fanout.orchestration.keys import MappingKeys

#: Name of the trigger's DynamicOutput.
RECORDS = "records"

_NAMED_RECORDS = 20


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

    @classmethod
    def of(cls, batch: Batch, mapping_keys: MappingKeys) -> "ManifestEntry":
        """Return the entry of the records of *batch*, as they have been found."""
        keys = tuple(record.record_key for record in batch)
        units = sum(len(record.waiting) for record in batch)
        return cls(mapping_keys.of(keys), keys, units, tuple(record.origin for record in batch))

    @property
    def title(self) -> str:
        """Which records it holds, in one line."""
        further = len(self.record_keys) - _NAMED_RECORDS
        more = f" and {further} more" if further > 0 else ""
        return ", ".join(self.record_keys[:_NAMED_RECORDS]) + more


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
    def units(self) -> int:
        """How many units all records have together."""
        return sum(entry.units for entry in self.entries)

    def load(self, entry: ManifestEntry, context: dg.OpExecutionContext, io_manager_key: str) -> Any:
        """Return what the trigger has stored for *entry* with the IO manager of that key."""
        stored = _output_context(context.resources, self.run_id, self.step_key, RECORDS, entry.mapping_key)
        load_context = dg.InputContext(
            name="batch",
            upstream_output=stored,
            resources=context.resources,
            log_manager=context.log,
            dagster_type=dg.PythonObjectDagsterType(tuple),  # the IO manager for ADLS asks for it
        )
        return getattr(context.resources, io_manager_key).load_input(load_context)


def remove_intermediates(context: dg.HookContext, io_manager_key: str) -> int:
    """Remove what the other steps of this step's graph have stored in this run; return how many outputs.

    What an IO manager does not keep by run, step and output stays, and the run's log says so.
    """
    io_manager = getattr(context.resources, io_manager_key)
    stores = list(_path_io_managers(io_manager))
    removed = left = 0
    for output in _outputs_of_other_steps(context):
        stored = _output_context(
            context.resources, context.run_id, output.step_key, output.output_name, output.mapping_key
        )
        paths = [(store, store._get_path(stored)) for store in stores]
        # An IO manager that keeps one file for all runs keeps it for the next one, too.
        gone = [_remove(store, path, context.run_id) for store, path in paths if context.run_id in path.parts]
        removed += any(gone)
        left += not gone
    if left:
        context.log.info(
            "%s step outputs stay: %s, the IO manager %r, neither is nor wraps a UPathIOManager that keeps a file "
            "or object for each run, step and output.",
            left,
            type(io_manager).__name__,
            io_manager_key,
        )
    return removed


def _outputs_of_other_steps(context: dg.HookContext) -> Iterator[Any]:
    graph = context.step_key.rpartition(".")[0]
    events = context.instance.all_logs(context.run_id, of_type=dg.DagsterEventType.STEP_OUTPUT)
    # A step that was tried again has put out the same more than once.
    outputs = dict.fromkeys(event.get_dagster_event().step_output_data.step_output_handle for event in events)
    for output in outputs:
        if output.step_key != context.step_key and output.step_key.startswith(f"{graph}."):
            yield output


#: What `S3PickleIOManager` calls the IO manager that does its work, and what those for GCS and ADLS call it.
_INNER_NAMES = ("inner_io_manager", "_internal_io_manager")


def _path_io_managers(io_manager: Any, outer: frozenset[int] = frozenset()) -> Iterator[dg.UPathIOManager]:
    """Yield *io_manager* if it keeps a file or object for each output, else those that it wraps."""
    if isinstance(io_manager, dg.UPathIOManager):
        yield io_manager
        return
    outer |= {id(io_manager)}
    held = [_value(getattr(io_manager, name, None)) for name in _INNER_NAMES]
    for attributes in ("__dict__", "__pydantic_private__"):
        held += (getattr(io_manager, attributes, None) or {}).values()
    inner = {id(value): value for value in held if isinstance(value, dg.IOManager)}
    for value in inner.values():
        if id(value) not in outer:
            yield from _path_io_managers(value, outer)


def _value(attribute: Any) -> Any:
    """Return what a method that takes nothing returns; anything else as it is."""
    if inspect.ismethod(attribute) and not inspect.signature(attribute).parameters:
        return attribute()
    return attribute


def _remove(store: dg.UPathIOManager, path: Any, run_id: str) -> bool:
    if not store.path_exists(path):
        return False
    # An object's key may look like a path on this machine: only one that is there has folders.
    is_local = isinstance(path, pathlib.Path) and path.exists()
    store.unlink(path)
    if is_local:
        _remove_empty_folders(path, run_id)
    return True


def _output_context(
    resources: Any, run_id: str, step_key: str, name: str, mapping_key: str | None
) -> dg.OutputContext:
    # With the step's own resources: without any Dagster makes an instance to build none, in 50 ms.
    return dg.OutputContext(
        run_id=run_id, step_key=step_key, name=name, mapping_key=mapping_key, resources=resources
    )


def _remove_empty_folders(path: pathlib.Path, run_id: str) -> None:
    with suppress(OSError):
        for folder in path.parents:
            if run_id not in folder.parts:
                return
            folder.rmdir()
