"""The tests' forked processes are what a command line starts, only sooner."""

import json
import os
import random
import signal
from pathlib import Path

import pytest

from project_fanout_tests.processes import run_python, start
from project_fanout_tests.waiting import wait_until

TELLS = """
import json, os, signal, sys, threading
def name(handler):
    return getattr(handler, "__name__", str(handler))
told = {
    "arguments": sys.argv, "command": sys.orig_argv[1:], "search": sys.path, "folder": os.getcwd(),
    "main": [__name__, globals().get("__file__"), sys.modules["__main__"].__dict__ is globals()],
    "environment": dict(os.environ),
    "signals": {int(number): name(signal.getsignal(number)) for number in signal.valid_signals()},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "threads": threading.active_count(), "input": sys.stdin.read(), "files": len(os.listdir("/proc/self/fd")),
}
print(json.dumps(told))
print("to standard error", file=sys.stderr)
sys.exit(7)
"""


@pytest.mark.parametrize("kind", ["-c", "-m", "script"])
def test_a_forked_process_is_like_a_fresh_one(tmp_path: Path, kind: str) -> None:
    """Arguments, search path, environment, folder, signals, open files, output and exit code are the same."""
    (tmp_path / "tells.py").write_text(TELLS)
    command = {"-c": ["-c", TELLS], "-m": ["-m", "tells"], "script": ["tells.py"]}[kind]
    fresh, forked = (
        run_python(*command, "one", "two", home=tmp_path, folder=tmp_path, fresh=fresh, OF_A_TEST="1")
        for fresh in (True, False)
    )
    assert (fresh.returncode, fresh.stderr) == (7, "to standard error\n")
    assert json.loads(forked.stdout) == json.loads(fresh.stdout)
    assert (forked.returncode, forked.stderr) == (fresh.returncode, fresh.stderr)


def test_a_forked_process_is_killed_alone(tmp_path: Path) -> None:
    """It has a session of its own, a signal ends it with that signal's code, and the next one is not affected."""
    process = start("-c", "import time; time.sleep(600)", home=tmp_path)
    assert process.poll() is None
    wait_until(lambda: os.getsid(process.pid) == process.pid, "it has a session of its own")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == -signal.SIGTERM
    process.kill()  # which is nobody's any more
    failed = run_python("-c", "raise ValueError('said')", home=tmp_path)
    assert failed.returncode == 1
    assert failed.stderr.endswith("ValueError: said\n")


def test_forked_processes_do_not_draw_the_same(tmp_path: Path) -> None:
    """Each has random numbers of its own."""
    code = "import random, numpy; print(random.random(), numpy.random.random())"
    random.seed(1)
    drawn = [run_python("-c", code, home=tmp_path).stdout.split() for _ in range(2)]
    assert len({number for numbers in drawn for number in numbers}) == 4
