"""A Ray cluster of two nodes on this machine, which tests start, kill, and start again at the same address."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from project_fanout_tests.engine.pools.support import child_pids, lives
from project_fanout_tests.waiting import wait_until

_ROOT = Path(__file__).parents[4]
#: What nodes and drivers share: the token that newer clusters ask for, and where modules are found.
ENVIRONMENT = {
    # With its default gRPC aborts in Ray's client server now and then: "Check failed: next_worker->state == KICKED".
    "GRPC_POLL_STRATEGY": "poll",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "project-fanout-tests-0123456789abcdef",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONPATH": str(_ROOT),
}

_START = [
    sys.executable,
    "-m",
    "ray.scripts.scripts",
    "start",
    "--block",
    "--num-cpus=1",
    "--disable-usage-stats",
]


class TwoNodes:
    """A head and a second node, each with one CPU."""

    def __init__(self) -> None:
        self._port, self._client_port = _free_port(), _free_port()
        # Sockets are in it, whose paths may have 107 characters.
        self._temporary = tempfile.TemporaryDirectory(prefix="fanout_ray_")
        self._nodes: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        """For drivers that are part of the cluster."""
        return f"127.0.0.1:{self._port}"

    @property
    def client_address(self) -> str:
        """For clients."""
        return f"ray://127.0.0.1:{self._client_port}"

    @property
    def runs(self) -> bool:
        """Whether it has been started, and not been killed as a whole."""
        return len(self._nodes) == 2

    def start(self) -> None:
        """Start head and node, and wait until both can run units."""
        self.kill()
        self._start_node(
            "--head",
            f"--port={self._port}",
            f"--ray-client-server-port={self._client_port}",
            "--include-dashboard=false",
            f"--temp-dir={self._temporary.name}",
        )
        self._start_node(f"--address={self.address}")

    def kill(self, which: slice = slice(None)) -> None:
        """Kill all processes of all nodes, or of those nodes alone, at once."""
        killed = self._nodes[which]
        del self._nodes[which]
        for pid in [pid for node in killed for pid in _family(node.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for node in killed:
            node.wait()
        if not self._nodes:
            wait_until(lambda: not self._processes(), "no process of the cluster is left", 60)

    def close(self) -> None:
        """Kill what there is, and remove its files."""
        self.kill()
        self._temporary.cleanup()

    def head_server(self) -> int:
        """Return the process id of the head's server of state, without which there is no cluster."""
        [found] = [pid for pid, command in self._processes().items() if b"/gcs_server" in command]
        return found

    def _start_node(self, *options: str) -> None:
        for _ in range(3):
            if self._starts(*options):
                return
            # On a machine with much else to do Ray gives up on its own start after 30 s.
            self.kill(slice(-1, None))
        pytest.fail("A node of a Ray cluster did not start in three attempts.")

    def _starts(self, *options: str) -> bool:
        """Start a node, and tell whether it is there or has given up."""
        log = Path(self._temporary.name) / f"node_{len(self._nodes)}.log"
        with log.open("wb") as output:
            node = subprocess.Popen(
                [*_START, *options],
                stdout=output,
                stderr=output,
                env={**os.environ, **ENVIRONMENT},
            )
        self._nodes.append(node)
        wait_until(
            lambda: b"Ray runtime started" in log.read_bytes() or node.poll() is not None,
            "a node of the cluster has started",
            120,
        )
        return node.poll() is None

    def logs(self) -> str:
        """Return what the servers of the clients had to say, which Ray itself does not hand on."""
        files = sorted(Path(self._temporary.name).glob("session_2*/logs/ray_client_server*"))
        return "\n".join(f"{file}:\n{file.read_text()[-4000:]}" for file in files)

    def _processes(self) -> dict[int, bytes]:
        found = {}
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                command = file.read_bytes()
                if self._temporary.name.encode() in command and lives(int(file.parent.name)):
                    found[int(file.parent.name)] = command
        return found


def _family(pid: int) -> list[int]:
    """Return the process and all that it and its children have started and not left."""
    return [pid, *(member for child in child_pids(pid) for member in _family(child))]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
