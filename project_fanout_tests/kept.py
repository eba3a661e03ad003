"""What Dagster makes anew each time, kept for as long as a process of the tests runs. Nothing else is different.

At night nothing is kept, as in a user's process.
"""

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from alembic.config import Config
from alembic.script import ScriptDirectory


def keep_what_is_made_anew() -> None:
    """From now on, keep migration scripts and engines, in this process and in its forks."""
    _keep_migrations()
    _keep_engines()


def _keep_migrations() -> None:
    """Read each folder of migration scripts once.

    For each new instance, and with SQLite for each run, Dagster marks its databases as up to date, and to find out
    what that is Alembic executes 88 scripts: twice 0.05 s of CPU, more than many a test takes otherwise.
    """
    read = ScriptDirectory.from_config
    known: dict[str | None, ScriptDirectory] = {}
    lock = threading.Lock()

    def from_config(config: Config) -> ScriptDirectory:
        folder = config.get_main_option("script_location")
        with lock:
            if folder not in known:
                known[folder] = read(config)
                known[folder].get_current_head()
            return known[folder]

    ScriptDirectory.from_config = from_config  # type: ignore[method-assign]


def _keep_engines() -> None:
    """Have one SQLAlchemy engine for each SQLite file; each event still connects, commits and closes.

    Dagster's SQLite storages make one for each event and query, which then compiles its statement again: half of the
    CPU of an event, and a step has 13.
    """
    from dagster._core.storage.event_log.sqlite import sqlite_event_log
    from dagster._core.storage.runs.sqlite import sqlite_run_storage
    from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
    from sqlalchemy.pool import NullPool

    def keeping(make: Callable[..., Any]) -> Callable[..., Any]:
        @lru_cache(100)
        def kept(url: str, options: tuple[tuple[str, Any], ...]) -> Any:
            return make(url, poolclass=NullPool, connect_args=dict(options))

        def create_engine(url: str, *, poolclass: Any, connect_args: dict[str, Any] | None = None) -> Any:
            assert poolclass is NullPool, "an engine that keeps connections is not to be shared"
            return kept(url, tuple((connect_args or {}).items()))

        return create_engine

    for storage in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
        storage.create_engine = keeping(storage.create_engine)  # type: ignore[attr-defined]
