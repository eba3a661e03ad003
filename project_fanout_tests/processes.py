"""Python processes for tests, as a user starts them: from a command line, with a folder and an environment."""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

from project_fanout_tests.nightly import NIGHTLY

ROOT = Path(__file__).parents[1]
ZYGOTE = Path(__file__).with_name("zygote.py")


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return the environment of a user's shell with DAGSTER_HOME set to *home*, and this tree importable."""
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    own = {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes", "PYTHONPATH": search}
    return {**os.environ, **own, **more}


def start(
    *arguments: str,
    home: Path,
    folder: Path = ROOT,
    output: IO[str] | None = None,
    errors: IO[str] | None = None,
    fresh: bool = False,
    **more: str,
) -> "Process":
    """Start `python *arguments*` in *folder*, from a user's shell with DAGSTER_HOME set to *home*.

    Args:
        arguments: "-m" and a module, "-c" and code, or a script; and its arguments.
        output: where standard output goes, if anywhere.
        errors: where standard error goes, if anywhere.
        fresh: whether the process starts from nothing, as at night all do. Otherwise it is forked from one that
            has imported Dagster, which takes some 0.05 s of CPU in place of 2 s and is all the same to what it
            runs: its own session, `__main__`, `sys.argv` and `sys.path`. The hash seed is not its own.
        more: variables of the environment.
    """
    variables = environment(home, **more)
    with open(os.devnull, "r+") as nothing:
        streams = (nothing, output or nothing, errors or nothing)
        if fresh or NIGHTLY:
            stdin, stdout, stderr = streams
            command = [sys.executable, *arguments]
            return subprocess.Popen(
                command, env=variables, cwd=folder, stdin=stdin, stdout=stdout, stderr=stderr
            )
        request = {"arguments": arguments, "folder": str(folder), "environment": variables}
        return Forked(_ask(request, [stream.fileno() for stream in streams]))


def command_lines(beginning: str) -> list[str]:
    """Return the command lines of all processes of this machine that begin so."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if line.startswith(beginning)]


def run_python(
    *arguments: str, home: Path, folder: Path = ROOT, timeout_s: float = 180, fresh: bool = False, **more: str
) -> "subprocess.CompletedProcess[str]":
    """Run Python as `start` does, and return its output as text."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = start(
            *arguments, home=home, folder=folder, output=output, errors=errors, fresh=fresh, **more
        )
        try:
            process.wait(timeout_s)
        finally:
            process.kill()
            code = process.wait()
        for stream in (output, errors):
            stream.seek(0)
        return subprocess.CompletedProcess(arguments, code, output.read(), errors.read())


def run_pytest(*files: str, folder: Path, fresh: bool = False) -> "subprocess.CompletedProcess[str]":
    """Run the tests in *files* in *folder*, as `run_python` does."""
    options = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    return run_python(*options, *files, home=folder, folder=folder, fresh=fresh)


class Forked:
    """A process that the zygote has forked; what tests use of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._end = os.pidfd_open(pid)  # readable when the process has ended

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, once there is one."""
        if self.returncode is None:
            if not select.select([self._end], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self.returncode = _ask({"ended": self.pid})
            os.close(self._end)
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code, None while there is none."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)  # nobody else has its id: the zygote has not been asked how it ended

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Process = subprocess.Popen[bytes] | Forked


@cache
def _zygote() -> socket.socket:
    """Start the zygote, when it is first needed; return what it is spoken to with."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # numpy's threads would be copied into no fork; a run does not multiply matrices.
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with its:
        process = subprocess.Popen(
            [sys.executable, str(ZYGOTE), str(its.fileno())],
            pass_fds=[its.fileno()],
            env={**variables, "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the tests; then it ends with them
        )
    atexit.register(lambda: (ours.close(), process.wait(30)))
    return ours


def _ask(request: object, streams: list[int] | None = None) -> int:
    """Return the zygote's answer."""
    socket.send_fds(_zygote(), [json.dumps(request).encode()], streams or [])
    answer = _zygote().recv(100)
    if not answer:
        raise RuntimeError("the zygote has ended; what it said is on standard error")
    return int(answer)
