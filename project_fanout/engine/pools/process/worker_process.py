"""Start, feed, kill and reap the processes of a `ProcessPool`, seen from the pool."""

import fcntl
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import project_fanout
from project_fanout.engine.pools.calls import UnitLog, UnitReply
from project_fanout.engine.pools.process import reaper as script
from project_fanout.engine.pools.process.start_marks import StartMarks
from project_fanout.engine.pools.process.wire import Channel, HandOver
from project_fanout.engine.pools.replies import reply_of_bytes

# A worker must never import the pool's __main__ (spawn and forkserver do): under a web server that is
# the server itself. It gets its sys.path, imports this one module, and stages by name.
_BOOTSTRAP = (
    "import json, sys; fds = sys.argv[2:4]; settings = sys.argv[4]; sys.path[:] = json.loads(sys.argv[5]); "
    "del sys.argv[1:]; from project_fanout.engine.pools.process.worker import main; main(*map(int, fds), settings)"
)
# Dagster takes a code location's folder off sys.path again once it is loaded, and with it, in a checkout
# that is not installed, the folder of this package.
_OUR_ROOT = str(Path(project_fanout.__file__).resolve().parents[1])
# Room for keys, an error and its traceback beside the result.
_MESSAGE_OVERHEAD_BYTES = 1 << 20
_CAN_WATCH = hasattr(os, "waitid")
# A process ends within a millisecond or so after its files have been closed.
_LOOK_AGAIN_S = 0.001
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Reaper:
    """The small process that kills a pool's workers should the pool's own process be killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._workers: set[int] = set()

    def watch(self, pid: int) -> None:
        """Put worker *pid* and all below it under watch.

        Raises:
            OSError: no reaper can be started.
        """
        with self._lock:
            self._workers.add(pid)
            self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """Say that worker *pid* is dead; to be called before its id can be used again."""
        with self._lock:
            self._workers.discard(pid)
            if self._process is not None:
                # A reaper that cannot be had is reported when it is to watch over the next worker.
                with suppress(OSError):
                    self._tell(f"-{pid}\n")

    def close(self) -> None:
        """End the reaper; workers that are still under watch are killed."""
        with self._lock:
            if self._process is not None:
                self._process.communicate()
                self._process = None

    def _tell(self, line: str) -> None:
        # A line is shorter than PIPE_BUF, so it is written whole or not at all.
        if self._process is not None:
            with suppress(BrokenPipeError):
                os.write(self._stdin(self._process), line.encode())
                return
            self._process.communicate()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", script.__file__, "project_fanout reaper", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        os.write(self._stdin(self._process), "".join(f"+{pid}\n" for pid in self._workers).encode())

    @staticmethod
    def _stdin(process: "subprocess.Popen[bytes]") -> int:
        assert process.stdin is not None  # for the type checker
        return process.stdin.fileno()


class WorkerProcess:
    """One worker: a Python process in a session of its own, a socket to it, and its start marks.

    Not thread-safe: one thread owns it.

    Args:
        reaper: kills the worker if this process dies.
        settings: what the worker's `main` expects.
        environment: its environment variables, besides those of this process.
    """

    def __init__(self, reaper: Reaper, settings: dict[str, Any], environment: Mapping[str, str]) -> None:
        self._reaper = reaper
        ours, theirs = socket.socketpair()
        theirs = socket.socket(fileno=_above_standard_streams(theirs.detach()))
        marks_fd = _above_standard_streams(StartMarks.create_file())
        try:
            self._channel = Channel(ours, settings["max_result_bytes"] + _MESSAGE_OVERHEAD_BYTES)
            self.marks = StartMarks(marks_fd)
            path = [entry for entry in dict.fromkeys((*sys.path, _OUR_ROOT)) if isinstance(entry, str)]
            arguments = [str(theirs.fileno()), str(marks_fd), json.dumps(settings), json.dumps(path)]
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOTSTRAP, "project_fanout worker", *arguments],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), marks_fd),
                start_new_session=True,
                env={**os.environ, **environment},
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(marks_fd)
        self.pid = self._process.pid
        try:
            reaper.watch(self.pid)
        except OSError:
            self.kill()
            self.close()
            raise

    def hand(self, hand_overs: list[HandOver], timeout_s: float) -> bool:
        """Send calls; return whether all are on their way.

        Raises:
            EOFError: the worker is dead.
        """
        # Pickled, because a stage takes its params as the objects that they are: what comes back is not.
        return self._channel.send(pickle.dumps(hand_overs, pickle.HIGHEST_PROTOCOL), timeout_s)

    def hand_rest(self, timeout_s: float) -> bool:
        """Go on with calls that *hand* could not send whole."""
        return self._channel.send_rest(timeout_s)

    def receive(
        self, timeout_s: float, wake: socket.socket | None = None
    ) -> tuple[int, UnitReply | UnitLog | None] | None:
        """Return the next message, None if there is none in time: the number of a call and its reply or log.

        A call that was taken back has None for its reply. None is returned as well when *wake* can be read.

        Raises:
            EOFError: the worker is dead and all that it sent has been received.
        """
        if wake is None:
            body = self._channel.receive(timeout_s)
        else:
            body = self._channel.receive_unless(wake, timeout_s)
        if body is None and self._process_has_ended():
            # Some process may hold the worker's end of the socket open, which hides its death.
            body = self._channel.receive(0)
            if body is None:
                raise EOFError("the worker is dead")
        return None if body is None else reply_of_bytes(body)

    @property
    def has_said_more(self) -> bool:
        """Whether `receive` would return a message without asking the kernel."""
        return self._channel.has_message

    def memory_mb(self) -> float:
        """Return how much memory the worker has now, in MiB; 0 where that is not told."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, ValueError, IndexError):
            return 0.0
        return pages * _PAGE_BYTES / 1024**2

    def ask_to_end(self) -> None:
        """Let the worker close what it has set up, and end."""
        if not self._process_has_ended():
            os.kill(self.pid, signal.SIGTERM)
            # A signal that comes just before the worker's main thread waits for its next call does not wake it.
            self._channel.end_output()

    def ends_within(self, timeout_s: float) -> bool:
        """Wait for the end of the worker, *timeout_s* at most; return False if it lives on.

        Where a process cannot be watched without being reaped (macOS before Python 3.13), return True at once.
        """
        give_up_at = time.monotonic() + timeout_s
        while _CAN_WATCH and not self._process_has_ended():
            if time.monotonic() > give_up_at:
                return False
            time.sleep(_LOOK_AGAIN_S)
        return True

    def kill(self) -> int:
        """Kill the worker and all below it; return its exit status, negative for a signal.

        The status is that of its own death if it was dead before. What it has sent can still be received.
        """
        script.kill_trees([self.pid])
        self._reaper.forget(self.pid)
        return self._process.wait()

    def close(self) -> None:
        self._channel.close()
        self.marks.close()

    def _process_has_ended(self) -> bool:
        # Without reaping it: its id, which is that of its process group, must not go to another process yet.
        if not _CAN_WATCH:
            return False
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None


def _above_standard_streams(fd: int) -> int:
    """Return *fd* as a number that is none of 0, 1 and 2, which it may be where those are closed.

    A worker would take it for its standard output, and what units print would be messages to the pool.
    """
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def described_exit(status: int, *, in_unit: bool) -> str:
    """Say how a worker ended and what probably made it.

    Args:
        status: its exit status, negative for a signal.
        in_unit: whether it had begun with the call that it is answered for.
    """
    if status >= 0:
        cause = (
            "the unit, or native code in it, ended the process, as os._exit does"
            if in_unit
            else "see stderr for its error"
        )
        return f"exit code {status}; {cause}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    causes = {
        "SIGKILL": "probably by the kernel because memory ran out, else by somebody's kill -9",
        "SIGSEGV": "native code in the unit reached for memory that is not its own; see stderr for the stack",
        "SIGBUS": "native code in the unit, or a mapped file that shrank; see stderr for the stack",
        "SIGABRT": "native code in the unit gave up; see stderr for its message",
        "SIGTERM": "somebody asked the process to end",
    }
    return f"{name}: {causes[name]}" if name in causes else name
