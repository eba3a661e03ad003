"""Dagster's usage statistics, without the disk reads that they cost per step."""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dagster import DagsterInstance

from project_fanout.orchestration.internals import telemetry

#: Functions of `dagster_shared.telemetry` that read an id from a YAML file.
_ID_READERS = ("_get_telemetry_instance_id", "_get_telemetry_user_id")

_lock = threading.Lock()
#: The runs of this process that read the ids from memory, and the functions that stand aside meanwhile.
_runs: list[object] = []
_stock: dict[str, Callable[[], Any]] = {}


@contextmanager
def telemetry_ids_read_once(instance: DagsterInstance) -> Iterator[None]:
    """Read the ids that mark Dagster's usage statistics once per run.

    Where telemetry is on, Dagster logs the start and the end of each step, and for each of the two
    parses two YAML files and opens the run database, to learn ids that never change: 10 ms a step,
    a third of all that a cheap step costs. What is logged stays the same.
    """
    if not instance.telemetry_enabled:
        yield
        return
    run = object()
    _cache_readers(run)
    storage: Any = instance.run_storage
    stock = getattr(type(storage), "get_run_storage_id", None)
    if stock is not None:
        storage.get_run_storage_id = functools.cache(functools.partial(stock, storage))
    try:
        yield
    finally:
        # With two runs over one instance the first to end uncovers the method for both: slower, not wrong.
        vars(storage).pop("get_run_storage_id", None)
        _uncache_readers(run)


def _cache_readers(run: object) -> None:
    with _lock:
        _runs.append(run)
        if len(_runs) == 1:
            for name in _ID_READERS:
                if (reader := getattr(telemetry, name, None)) is not None:
                    _stock[name] = reader
                    setattr(telemetry, name, _cached_once_found(reader))


def _uncache_readers(run: object) -> None:
    with _lock:
        _runs.remove(run)
        if not _runs:
            for name, reader in _stock.items():
                setattr(telemetry, name, reader)
            _stock.clear()


def _cached_once_found(reader: Callable[[], Any]) -> Callable[[], Any]:
    """Return *reader* with its first result that is not None: None says that the file is yet to be made."""
    found: list[Any] = []

    def read() -> Any:
        if not found and (value := reader()) is not None:
            found.append(value)
        return found[0] if found else None

    return read
