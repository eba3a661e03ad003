"""Stages that misbehave in every way that the pool tests know of."""

import ctypes
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from project_fanout.engine import Fanout, Unit


class NeedsKeyword(Exception):
    """Cannot be pickled: it can only be made with a keyword."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code
        self.lock = threading.Lock()


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def echo(unit: Unit, **params: Any) -> Any:
    return [unit.key, unit.payload, params]


def length(unit: Unit, *, value: bytes) -> int:
    return len(value)


def process_id(unit: Unit) -> int:
    return os.getpid()


def loaded_modules(unit: Unit) -> list[str]:
    return sorted(sys.modules)


def surroundings(unit: Unit) -> dict[str, Any]:
    return {
        "cwd": str(Path.cwd()),
        "path": sys.path,
        "main": sys.modules["__main__"].__dict__.get("__file__"),
    }


def niceness(unit: Unit) -> list[int]:
    """Return the niceness of this process and, where sessions have one, of its session."""
    session = Path("/proc/self/autogroup")
    found = re.findall(r"nice (-?\d+)", session.read_text()) if session.exists() else []
    return [os.getpriority(os.PRIO_PROCESS, 0), *map(int, found)]


def raise_error(unit: Unit) -> None:
    raise ValueError(f"bad payload {unit.payload}")


def raise_chained(unit: Unit) -> None:
    try:
        raise_error(unit)
    except ValueError as error:
        raise NeedsKeyword(code=7) from error


def raise_unspeakable(unit: Unit) -> None:
    raise Unspeakable


def raise_half_a_surrogate(unit: Unit) -> None:
    raise ValueError("half \ud800 of a pair")


def call_sys_exit(unit: Unit) -> None:
    sys.exit(unit.payload)


def raise_interrupt(unit: Unit) -> None:
    raise KeyboardInterrupt


def recurse(unit: Unit) -> None:
    recurse(unit)


def return_odd(unit: Unit) -> Any:
    odd: dict[str, Any] = {
        "generator": {"sizes": [1.0, (size for size in range(3))]},
        "lock": {"tags": {"one": threading.Lock()}},
        "function": return_odd,
    }
    return odd[unit.payload]


def return_large(unit: Unit) -> str:
    return "x" * unit.payload


def fan_out(unit: Unit) -> Fanout:
    return Fanout([Unit(f"{unit.key}/{index}", {"index": index}) for index in range(unit.payload)])


def fan_out_odd(unit: Unit) -> Fanout:
    return Fanout([Unit("fine", 1), Unit("odd one", {"when": iter(())})])


def exit_process(unit: Unit) -> None:
    os._exit(unit.payload)


def kill_self(unit: Unit) -> None:
    os.kill(os.getpid(), unit.payload)
    time.sleep(60)


def segfault(unit: Unit) -> None:
    ctypes.string_at(0)


def kill_self_while_sending(unit: Unit) -> str:
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGKILL)).start()
    # Long enough to be in the middle of the socket when the signal comes.
    return "x" * 60_000_000


def hang(unit: Unit) -> None:
    """Note the process id in the file that the payload names, if any, and hang."""
    if unit.payload:
        Path(unit.payload).write_text(str(os.getpid()))
    time.sleep(600)


def hang_deaf(unit: Unit) -> None:
    """Hang in native code that ignores every signal that can be ignored."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ctypes.PyDLL(None).sleep(600)


def stop_self(unit: Unit) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def hang_with_children(unit: Unit) -> None:
    """Start a child and one in a session of its own, note both ids, and hang."""
    children = [
        subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], start_new_session=own)
        for own in (False, True)
    ]
    target = Path(unit.payload)
    draft = target.with_suffix(".draft")
    draft.write_text(" ".join(str(pid) for pid in [os.getpid(), *(child.pid for child in children)]))
    draft.rename(target)
    ctypes.PyDLL(None).sleep(600)


def exit_leaving_fork(unit: Unit) -> None:
    """End the worker while a forked child of it lives on with all of its files."""
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
    Path(unit.payload).write_text(str(pid))
    os._exit(5)


def return_twice(unit: Unit) -> int:
    """Fork, and let both processes return from the stage."""
    os.fork()
    return os.getpid()


def append_line(unit: Unit) -> None:
    """Append the unit's key to the file that the payload names, in one write."""
    fd = os.open(unit.payload, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{unit.key}\n".encode())
    os.close(fd)


def append_line_and_exit(unit: Unit) -> None:
    append_line(unit)
    os._exit(3)


def append_and_burn(unit: Unit) -> None:
    append_line(unit)
    end = time.process_time() + 0.002
    while time.process_time() < end:
        pass


def append_and_maybe_hang(unit: Unit) -> None:
    append_line(unit)
    if unit.key.endswith("hang"):
        time.sleep(600)
    if unit.key.endswith("pause"):
        time.sleep(0.8)


def track_level(unit: Unit) -> int:
    """Return how many units of this budget run now, by files in the folder that the payload names."""
    mark = Path(unit.payload) / unit.key
    mark.touch()
    time.sleep(0.01)
    level = len(list(Path(unit.payload).iterdir()))
    mark.unlink()
    return level


def write_logs(unit: Unit) -> None:
    logging.getLogger("stage.detail").debug("too fine")
    logging.getLogger("stage").info("working on %s", unit.key)
    try:
        raise_error(unit)
    except ValueError:
        logging.getLogger("stage").exception("went wrong")


def flood_logs(unit: Unit) -> None:
    while True:
        logging.getLogger("stage").info("again")


def want_memory(unit: Unit) -> int:
    return len(bytearray(unit.payload))


def say_something(unit: Unit) -> str:
    """Write to standard output and standard error, through Python and past it."""
    print("a line on stdout", flush=True)
    print("a line on stderr", file=sys.stderr, flush=True)
    subprocess.run(["/bin/sh", "-c", "echo a line; echo a line >&2"], check=False)
    return "said"


def hide_want_of_memory(unit: Unit) -> None:
    """Do as image libraries do with a MemoryError."""
    try:
        bytearray(unit.payload)
    except MemoryError:
        raise ValueError("cannot load the picture") from None


def close_files_and_exit(unit: Unit) -> None:
    """Close all files, the socket among them, and end a while after that."""
    os.closerange(3, 64)
    time.sleep(unit.payload)
    os._exit(7)
