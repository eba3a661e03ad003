"""The Postgres server of Dagster's storage, which may go away for a while and come back."""

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as db

from project_fanout.engine.errors import FanoutError
from project_fanout.orchestration.internals import check_captured_interrupt

_T = TypeVar("_T")

#: How long a server may stay away, from the first call that failed, until the run fails.
WAIT_S = 60.0
#: The same once the run has been interrupted, and for a server that has been given up: long enough to replace a
#: connection that was merely cut, short enough that the run ends.
_HURRIED_WAIT_S = 2.0
#: The first and the longest pause between two tries; each is twice as long as the one before.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
#: How often a pause looks for an interrupt.
_TURN_S = 0.25

#: SQLSTATEs of a server that ends connections or takes no new ones: shut down, crashed, starting, idle for too
#: long, too many clients. Class 08 is that of connections, and of PgBouncer without a server.
_LOST_STATES = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "53300"})


class DatabaseServerLostError(FanoutError):
    """The server of Dagster's storage has stayed away for too long; the message names it and the remedy."""


class TransactionPendingError(Exception):
    """A transaction whose connection was lost has not ended on the server yet."""


class DatabaseServer:
    """One server, as the threads of this process see it.

    Args:
        url: of the database.
    """

    def __init__(self, url: db.URL) -> None:
        self._name = f"{url.host or 'localhost'}:{url.port or 5432}, database {url.database or url.username}"
        self._lock = threading.Lock()
        self._lost_since: float | None = None
        self._given_up = False
        #: Why the runs of this process end; set until they have.
        self._verdict: str | None = None
        #: One for each run of this process: set once it has been interrupted.
        self._interrupts: list[threading.Event] = []

    @contextmanager
    def until(self, interrupted: threading.Event | None) -> Iterator[None]:
        """Wait no longer for the server than it takes to reconnect, once *interrupted* is set.

        In here a server that has been given up stays so: a step that ends must not try again, with the
        locks of Dagster's logging held, while an interrupt is raised in the others.
        """
        interrupt = interrupted or threading.Event()
        self._interrupts.append(interrupt)
        try:
            yield
        finally:
            self._interrupts.remove(interrupt)
            self._verdict = None

    def call(self, action: Callable[[], _T]) -> _T:
        """Return what *action* returns; while it fails because a connection is lost, call it again.

        Raises:
            DatabaseServerLostError: it has failed so for `WAIT_S`, or the run ends meanwhile.
        """
        lost_at: float | None = None
        pause_s = _FIRST_PAUSE_S
        while True:
            if self._verdict is not None:
                raise DatabaseServerLostError(self._verdict)
            try:
                result = action()
            except Exception as error:
                if not is_connection_lost(error):
                    raise
                if lost_at is None:
                    lost_at = time.monotonic()
                    self._note_lost(error, lost_at)
                self._pause(random.uniform(0.5, 1.0) * pause_s, lost_at, error)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                if self._lost_since is not None:
                    self._note_found()
                return result

    def _pause(self, pause_s: float, lost_at: float, error: Exception) -> None:
        until = time.monotonic() + pause_s
        while (now := time.monotonic()) < until:
            if now >= lost_at + self._wait_s():
                raise self._give_up(error, now - lost_at) from error
            time.sleep(min(_TURN_S, until - now))

    def _wait_s(self) -> float:
        # The flag that Dagster keeps for the process: the thread that takes it may be waiting here.
        hurried = (
            self._given_up
            or check_captured_interrupt()
            or any(interrupt.is_set() for interrupt in tuple(self._interrupts))
        )
        return min(_HURRIED_WAIT_S, WAIT_S) if hurried else WAIT_S

    def _note_lost(self, error: Exception, lost_at: float) -> None:
        with self._lock:
            if self._lost_since is not None:
                return
            self._lost_since = lost_at
        _say(
            f"Lost the connection to Dagster's Postgres storage at {self._name}: {_cause(error)}. "
            f"Trying again for {WAIT_S:g} s."
        )

    def _note_found(self) -> None:
        with self._lock:
            since, self._lost_since, self._given_up = self._lost_since, None, False
        if since is not None:
            away_s = time.monotonic() - since
            _say(f"Connected to Dagster's Postgres storage at {self._name} again after {away_s:.1f} s.")

    def _give_up(self, error: Exception, away_s: float) -> DatabaseServerLostError:
        message = (
            f"Dagster's Postgres storage at {self._name} could not be reached for {away_s:.0f} s: "
            f"{_cause(error)}. Check that the server is running and accepts connections from this machine, then "
            "re-execute the run; if it is still shown as started, terminate it first."
        )
        with self._lock:
            first, self._given_up = not self._given_up, True
            if self._interrupts:
                self._verdict = message
        if first:
            _say(message)
        return DatabaseServerLostError(message)


def is_connection_lost(error: Exception) -> bool:
    """Tell whether *error* says that a connection is gone or cannot be had, and not that a statement is wrong."""
    if isinstance(error, TransactionPendingError):
        return True
    if not isinstance(error, db.exc.DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    # psycopg2 and psycopg name it differently.
    state = getattr(error.orig, "pgcode", None) or getattr(error.orig, "sqlstate", None)
    if state:
        return state in _LOST_STATES or state.startswith("08")
    # Without one libpq itself has failed, or the server has refused the connection, in words of its own language.
    return isinstance(error, db.exc.OperationalError)


def _cause(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0].rstrip(".")


def _say(message: str) -> None:
    # Not by `logging`: an instance may send any logger's records to the very log that cannot be written.
    sys.stderr.write(f"{message}\n")
