"""`make quick` starts no process, whoever forgets to mark a test."""

from pathlib import Path

from project_fanout_tests.processes import run_pytest

CONFTEST = """
from project_fanout_tests.quick import Guard

def pytest_configure(config):
    config.pluginmanager.register(Guard())
"""
TESTS = """
import contextlib, multiprocessing, os, subprocess, sys, threading

def run(start):
    with contextlib.suppress(Exception):
        start()

def test_subprocess():
    run(lambda: subprocess.run([sys.executable, "-c", ""]))

def test_of_a_thread():
    thread = threading.Thread(target=run, args=(lambda: subprocess.run(["true"]),))
    thread.start()
    thread.join()

def test_fork():
    run(lambda: os.fork() or os._exit(0))

def test_spawn():
    run(multiprocessing.get_context("spawn").Process(target=print).start)

def test_of_this_process_alone():
    run(lambda: 1 / 0)
"""


def test_a_test_that_starts_a_process_is_not_quick(tmp_path: Path) -> None:
    """In a quick run it fails, also if it does not mind the refusal, and the failure says what to do."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_some.py").write_text(TESTS)
    run = run_pytest("test_some.py", folder=tmp_path)
    assert "4 failed, 1 passed" in run.stdout, run.stdout + run.stderr
    for name in ("subprocess", "of_a_thread", "fork", "spawn"):
        assert f"test_some.py::test_{name} is not quick, mark it slow: it starts a process" in run.stdout
