"""The connection of this process to Ray, which all its pools share: Ray has one per process."""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import project_fanout
from project_fanout.engine.errors import FanoutDefinitionError

_PACKAGE_ROOT = str(Path(project_fanout.__file__).resolve().parents[1])

_lock = threading.Lock()
_users = 0
# Where the connection that this module made leads to, None while there is none of its own.
_address: str | None = None


def import_ray() -> Any:
    """Return the module `ray`.

    Raises:
        FanoutDefinitionError: the extra is not installed.
    """
    try:
        import ray  # noqa: PLC0415  # an extra, and seconds to import
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise FanoutDefinitionError(
            "Ray is not installed, and a pool on a Ray cluster needs it: pip install 'project_fanout[ray]'"
        ) from error
    return ray


def join(address: str | None, cpus: int) -> bool:
    """Connect this process to Ray unless it is; return whether `leave` is due when it is no longer needed.

    A connection that the program made itself is used as it is, whatever *address* says, and left alone.

    Args:
        address: "auto", "host:port" or "ray://host:port" of a cluster; None starts one in this machine.
        cpus: how many CPUs the one in this machine has.

    Raises:
        FanoutDefinitionError: Ray is not installed, or a pool in this process is connected to another cluster.
        ConnectionError: there is no cluster at *address*.
    """
    global _users, _address  # there is one connection per process
    ray = import_ray()
    wanted = address or "local"
    with _lock:
        if ray.is_initialized() and _address is None:
            return False
        if _address is None or not ray.is_initialized():
            _connect(ray, wanted, cpus)
            _address, _users = wanted, 0
        elif _address != wanted:
            raise FanoutDefinitionError(
                f"RayPool: address is {address!r}, but this process is connected to {_address!r} by another "
                "pool, and Ray has one connection per process: close that pool first, or use one address."
            )
        _users += 1
        return True


def leave() -> None:
    """Give one `join` back. The last one disconnects; a Ray that was started here ends with it."""
    global _users, _address  # see above
    with _lock:
        _users -= 1
        if _users == 0:
            _address = None
            import_ray().shutdown()


def _connect(ray: Any, address: str, cpus: int) -> None:
    # ray.init takes SIGTERM for itself, and with it Dagster's way to end a run in good order.
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address != "local":
            ray.init(address=address)
            return
        os.environ.setdefault(
            "RAY_USAGE_STATS_ENABLED", "0"
        )  # it is an implementation detail of this process
        ray.init(
            address="local",
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
