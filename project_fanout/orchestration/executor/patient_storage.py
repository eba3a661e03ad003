"""Calls of Dagster's Postgres storages that wait for their server."""

import functools
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import sqlalchemy as db
from dagster import DagsterInstance

from project_fanout.orchestration.executor.database_server import DatabaseServer

#: Calls that may be made twice, should a connection be lost in the middle: they read, or set what they are given.
_REPEATABLE = re.compile(
    r"(all|can|check|fetch|get|has|supports)_\w+"
    r"|handle_run_event|(claim|free)_concurrency_\w+|initialize_concurrency_limit_to_default"
    r"|add_dynamic_partitions|delete_dynamic_partition|set_cursor_values|update_asset_cached_status_data"
)
#: libpq's: a host that is gone without a word is noticed after 10 s when connecting, 30 s otherwise.
_CONNECT_ARGS = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}

_lock = threading.Lock()
_servers: dict[db.URL, DatabaseServer] = {}
_patient: "weakref.WeakSet[Any]" = weakref.WeakSet()


def is_stock_postgres(storage: Any) -> bool:
    """Tell whether *storage* is one of Dagster's own for Postgres, not a subclass of somebody's."""
    return type(storage).__module__.startswith("dagster_postgres.")


def patient_server(instance: DagsterInstance) -> DatabaseServer:
    """Let the Postgres storages of *instance* wait for their server; return that of the event log.

    Dagster's own try to connect for 11 s, and a connection that is lost in the middle of a call fails it. This
    lasts as long as the instance: the last events of a run are stored when its executor has returned.
    """
    with _lock:
        for storage in (instance.event_log_storage, instance.run_storage, instance.schedule_storage):
            if is_stock_postgres(storage) and storage not in _patient:
                _patient.add(storage)
                _be_patient(storage)
        return _server_of(instance.event_log_storage)


def over_connection(storage: Any, connection: db.Connection) -> Any:
    """Return a copy of the event log's *storage* that does everything over *connection*, as Dagster wrote it."""
    stock: Any = type(storage)
    copy = stock.__new__(stock)
    # Without what has been laid over the methods of the class.
    vars(copy).update({name: value for name, value in vars(storage).items() if not hasattr(stock, name)})
    copy._connect = lambda: nullcontext(connection)
    return copy


def _server_of(storage: Any) -> DatabaseServer:
    url = storage._engine.url
    return _servers.setdefault(url, DatabaseServer(url))


def _be_patient(storage: Any) -> None:
    stock = type(storage)
    server = _server_of(storage)
    for name in dir(stock):
        if _REPEATABLE.fullmatch(name) and callable(getattr(stock, name)):
            setattr(storage, name, _repeated(server, getattr(storage, name)))
    connect = "_connect" if hasattr(stock, "_connect") else "connect"
    setattr(storage, connect, functools.partial(_connected, storage, server))
    if storage._engine.dialect.driver in ("psycopg2", "psycopg"):
        db.event.listen(storage._engine, "do_connect", _add_connect_args)


def _repeated(server: DatabaseServer, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return server.call(lambda: method(*args, **kwargs))

    return call


@contextmanager
def _connected(storage: Any, server: DatabaseServer) -> Iterator[db.Connection]:
    with server.call(storage._engine.connect) as connection:
        yield connection


def _add_connect_args(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
    for name, value in _CONNECT_ARGS.items():
        parameters.setdefault(name, value)
