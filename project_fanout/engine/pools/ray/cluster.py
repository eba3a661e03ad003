"""Ray itself: its import, a question that its cluster has to answer, and a way out when it does not.

Ray has no public call that does the last two in bounded time: what is private to it is in this module alone.
"""

import atexit
import threading
from typing import Any

from project_fanout.engine.errors import FanoutDefinitionError

# ray.shutdown takes 5 s on a cluster whose processes are dead; on one that is stopped it never returns.
_LONGEST_SHUTDOWN_S = 15.0
# What it asks the head when it closes them, and the threads that wait for the head in them.
_SUBSCRIBERS, _LISTENERS = (
    ("gcs_error_subscriber", "gcs_log_subscriber"),
    ("listener_thread", "logger_thread"),
)


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


def ask(ray: Any, timeout_s: float) -> None:
    """Return when the head of the cluster has answered.

    Raises:
        ConnectionError: it has, and says that the node is dead through which this process uses the cluster.
        Exception: it has not, within *timeout_s*; Ray and gRPC have many classes for that.
    """
    client = _client(ray)
    if client is not None:
        # Not its ping: that is answered by the port's own process, which knows nothing of the head's state.
        resources = ray.core.generated.ray_client_pb2.ClusterInfoType.CLUSTER_RESOURCES
        client.get_cluster_info(resources, timeout=timeout_s)
    else:
        head = ray.experimental.internal_kv.internal_kv_get_gcs_client()
        nodes = head.get_all_node_info(timeout=timeout_s)
        own = nodes.get(ray.NodeID.from_hex(ray.get_runtime_context().get_node_id()))
        if own is not None and own.state != ray.core.generated.gcs_pb2.GcsNodeInfo.ALIVE:
            # Ray lets its tasks hang then.
            raise ConnectionError("the Ray node on this machine has died")


def abandon(ray: Any) -> bool:
    """Disconnect from a cluster that does not answer; return whether Ray could be shut down.

    If not, the end of the process does not wait for it either.
    """
    client = _client(ray)
    if client is not None:
        # In this order: calls that wait for an answer end now, and none is made again.
        client._in_shutdown = True
        if client.channel is not None:
            client.channel.close()
    else:
        worker = ray._private.worker.global_worker
        for name in _SUBSCRIBERS:
            setattr(worker, name, _NoSubscriber())
        for name in _LISTENERS:
            worker.__dict__.pop(name, None)
    shutdown = threading.Thread(target=ray.shutdown, name="project_fanout ray shutdown", daemon=True)
    shutdown.start()
    shutdown.join(_LONGEST_SHUTDOWN_S)
    if shutdown.is_alive():
        atexit.unregister(ray.shutdown)
    return not shutdown.is_alive()


class _NoSubscriber:
    """Takes the place of a subscriber to messages of a head that answers no more."""

    def poll(self, *_: Any) -> None:
        """End the thread that listens."""
        raise SystemExit

    def close(self) -> None:
        """Do nothing."""


def one_line(error: BaseException) -> str:
    """Return class and message of *error*."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _client(ray: Any) -> Any:
    """Return the connection of `ray://`, None if this process is part of the cluster."""
    return ray.util.client.ray.get_context().client_worker
