"""A Python that has imported Dagster and the project, and forks a process for each command line that it gets.

A script of its own, which `processes` starts with the number of its end of a socket. A message asks for

    {"arguments": [...], "folder": "...", "environment": {...}} with standard input, output and error:
        run these arguments of Python; the answer is the process id
    {"ended": 123}: what process 123 has ended with; the answer is the exit code, negative for a signal

It imports and starts nothing else, so that it has one thread and may be forked, and ends with the socket.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import types
from importlib.abc import MetaPathFinder
from typing import Any

#: What a run imports, also that which Dagster puts off until it makes an instance or executes a job.
MODULES = (
    "dagster._cli",
    "dagster._core.execution.api",
    "dagster._core.storage.compute_log_manager",
    "dagster._core.storage.event_log",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.storage.runs",
    "dagster._core.storage.root",
    "dagster._core.storage.schedules",
    "fsspec.implementations.local",
    "project_fanout.definitions",
    "tabulate",
    "upath.implementations.local",
)


def serve(channel: socket.socket) -> dict[str, Any]:
    """Fork on request until the other end is closed, which ends this process; return only in a fork, the request."""
    running: set[int] = set()
    while True:
        message, streams, _, _ = socket.recv_fds(channel, 1 << 20, 3)
        if not message:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
            os._exit(0)
        request: dict[str, Any] = json.loads(message)
        if pid := request.get("ended", 0):
            answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            running.discard(pid)
        elif (answer := os.fork()) == 0:
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            channel.close()
        else:
            running.add(answer)
        for stream in streams:
            os.close(stream)
        if answer == 0 and not pid:
            return request
        channel.send(json.dumps(answer).encode())


def become(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Do what `python *arguments*` does in *folder* with *environment*, as that process's __main__."""
    atexit.register(gc.unfreeze)  # at the end everything is freed, as in any other process
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # Python's own generator has a new seed in every fork
    sys.orig_argv = [sys.executable, *arguments]
    sys.argv = list(arguments)
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    search = [os.path.abspath(path) for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:0] = [os.getcwd(), *dict.fromkeys(search)]
    match arguments:
        case ["-m", module, *rest]:
            sys.argv = ["-m", *rest]
            runpy._run_module_as_main(module)  # type: ignore[attr-defined]  # what `python -m` calls
        case ["-c", code, *rest]:
            sys.argv = ["-c", *rest]
            sys.path[0] = ""
            exec(code, main.__dict__)  # noqa: S102  # what `python -c` does
        case [script, *_]:
            sys.path[0] = os.path.dirname(os.path.realpath(script))
            main.__file__ = os.path.abspath(script)
            with open(script, encoding="utf-8") as source:
                code = compile(source.read(), script, "exec")
            exec(code, main.__dict__)  # noqa: S102  # as Python does with a script


class WithoutPyarrow(MetaPathFinder):
    """Finds no pyarrow."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pyarrow":
            raise ModuleNotFoundError("No module named 'pyarrow'", name=name)


if __name__ == "__main__":
    # As in an installation without pyarrow: pandas imports it where there is one, and it starts threads.
    sys.meta_path.insert(0, WithoutPyarrow())
    # From this script's folder, which its forks do not have.
    importlib.import_module("kept").keep_what_is_made_anew()
    del sys.modules["kept"], sys.path[0]
    for name in MODULES:
        __import__(name)
    # The first instance makes all of them ready; it leaves no thread.
    sys.modules["dagster"].DagsterInstance.ephemeral().dispose()
    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, f"a process with {len(threads)} threads may not be forked"
    gc.collect()
    gc.freeze()  # so that no fork copies what all of them share
    become(**serve(socket.socket(fileno=int(sys.argv[1]))))
