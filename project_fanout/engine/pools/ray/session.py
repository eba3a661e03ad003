"""The connection of this process to Ray, which all its pools share: Ray has one per process."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Protocol

import project_fanout
from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.engine.pools.ray import cluster

_LOCAL = "local"
_PACKAGE_ROOT = str(Path(project_fanout.__file__).resolve().parents[1])

# Ray tells nobody that a cluster has gone, and ends the process after 60 s without its head: it is asked.
_ASK_EVERY_S = 1.0
_LONGEST_ANSWER_S = 3.0
# A network that is down for a moment, or a head that restarts with its state, is waited for.
_LONGEST_SILENCE_S = 10.0
# So many in a row: the first answer after this process has been stopped for a while may be late.
_LEAST_UNANSWERED = 3
# An error of gRPC may be pages long.
_MOST_CHARS = 300


class Member(Protocol):
    """A pool, as its connection knows it."""

    def note_answer(self, asked: float) -> None:
        """Take note that the cluster has answered what it was asked at *asked*, on the monotonic clock."""

    def note_loss(self, message: str) -> None:
        """Take note that the cluster is gone for good; nothing of Ray may be called any more."""


class Connection:
    """A connection to a cluster, and the watch on whether that is still there.

    Args:
        address: the address that it was made with, None if the program itself made it.
        name: the cluster, as an error names it.
    """

    def __init__(self, address: str | None, name: str) -> None:
        self.address = address
        self.name = name
        self.members: list[Member] = []
        self.ended = False
        self._wake = threading.Event()
        self._watch = threading.Thread(target=self._keep_asking, name="project_fanout ray watch", daemon=True)

    def open(self) -> None:
        """Begin to watch.

        Raises:
            ConnectionError: the cluster does not answer.
        """
        try:
            cluster.ask(cluster.import_ray(), _LONGEST_SILENCE_S)
        except Exception as error:
            if self.address is not None:
                cluster.abandon(cluster.import_ray())
            raise ConnectionError(f"No answer from {self.name}: {cluster.one_line(error)}") from error
        self._watch.start()

    def ask_now(self) -> None:
        """Do not wait until it is time to ask again."""
        self._wake.set()

    def leave(self, member: Member) -> None:
        """Give a `join` back. The last one disconnects; a Ray that was started here ends with it."""
        global _connection  # there is one per process
        with _lock:
            if member not in self.members:
                return
            self.members.remove(member)
            if self.members:
                return
            self.ended, _connection = True, None
            self._wake.set()
            if self.address is not None:
                self._disconnect()

    def lose(self, reason: str) -> None:
        """End all that waits for the cluster, and the connection."""
        global _connection  # see above
        with _lock:
            if self.ended:
                return
            self.ended = True
            self._wake.set()
            remedy = (
                "See its logs for the reason"
                if self.address == _LOCAL
                else "Check that it is up and can be reached from here, or choose another one"
            )
            message = (
                f"Lost {self.name}: {reason[:_MOST_CHARS]}. No unit has been charged for it. {remedy}; then "
                "re-execute the run from failure, and only what is missing runs."
            )
            for member in self.members:
                member.note_loss(message)
            self.members.clear()
            if self.address is None or cluster.abandon(cluster.import_ray()):
                _connection = None

    def _disconnect(self) -> None:
        ray = cluster.import_ray()
        try:
            cluster.ask(ray, _LONGEST_ANSWER_S)
        except Exception:  # noqa: BLE001  # Ray and gRPC have many classes for no answer
            cluster.abandon(ray)
        else:
            ray.shutdown()

    def _keep_asking(self) -> None:
        unanswered, silent_since = 0, 0.0
        while not self.ended:
            self._wake.wait(_ASK_EVERY_S)
            self._wake.clear()
            asked = time.monotonic()
            try:
                cluster.ask(cluster.import_ray(), _LONGEST_ANSWER_S)
            except ConnectionError as error:
                self.lose(str(error))
            except Exception as error:  # noqa: BLE001  # see above
                silent_since = silent_since if unanswered else asked
                unanswered += 1
                silence = time.monotonic() - silent_since
                if unanswered >= _LEAST_UNANSWERED and silence >= _LONGEST_SILENCE_S:
                    self.lose(f"it has not answered for {silence:.0f} s ({cluster.one_line(error)})")
            else:
                unanswered = 0
                for member in list(self.members):
                    member.note_answer(asked)


def join(address: str | None, cpus: int, member: Member) -> Connection:
    """Connect this process to Ray unless it is, on behalf of *member*, which is to `leave` it in the end.

    A connection that the program made itself is used as it is, whatever *address* says, and left alone.

    Args:
        address: "auto", "host:port" or "ray://host:port" of a cluster; None starts one in this machine.
        cpus: how many CPUs the one in this machine has.
        member: who is told whether the cluster is still there.

    Raises:
        FanoutDefinitionError: Ray is not installed, or a pool in this process is connected to another cluster.
        ConnectionError: there is no cluster at *address*, or it does not answer.
    """
    global _connection  # there is one per process
    ray = cluster.import_ray()
    wanted = address or _LOCAL
    with _lock:
        if _connection is None:
            if ray.is_initialized():
                connection = Connection(None, _named(ray, None))
            else:
                _connect(ray, wanted, cpus)
                connection = Connection(wanted, _named(ray, wanted))
            connection.open()
            _connection = connection
        elif _connection.ended:
            raise ConnectionError(
                f"This process has lost {_connection.name} and cannot be disconnected from it, because it does "
                "not answer, and Ray has one connection per process: start a new process."
            )
        elif _connection.address not in (None, wanted):
            raise FanoutDefinitionError(
                f"RayPool: address is {address!r}, but this process is connected to {_connection.address!r} by "
                "another pool, and Ray has one connection per process: close that pool first, or use one address."
            )
        _connection.members.append(member)
        return _connection


# Held while the connection is made or ended, and by whoever ends it also while its members are told.
_lock = threading.RLock()
_connection: Connection | None = None


def _named(ray: Any, address: str | None) -> str:
    """Return how an error names the cluster; *address* is None if the program connected to it."""
    if address == _LOCAL:
        return "the Ray that was started on this machine"
    if address in (None, "auto"):
        return f"the Ray cluster at {ray.get_runtime_context().gcs_address}"
    return f"the Ray cluster at {address}"


def _connect(ray: Any, address: str, cpus: int) -> None:
    # ray.init takes SIGTERM for itself, and with it Dagster's way to end a run in good order.
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address != _LOCAL:
            ray.init(address=address)
            return
        os.environ.setdefault(
            "RAY_USAGE_STATS_ENABLED", "0"
        )  # it is an implementation detail of this process
        ray.init(
            address=_LOCAL,
            num_cpus=cpus,
            include_dashboard=False,
            # By itself Ray hands on the working directory and the script's folder alone.
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(_import_path())}},
        )
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _import_path() -> list[str]:
    entries = (str(Path(entry).resolve()) for entry in (*sys.path, _PACKAGE_ROOT) if isinstance(entry, str))
    return list(dict.fromkeys(entries))
