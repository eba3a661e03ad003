"""Python processes in which the kernel refuses a system call, as some file systems and sandboxes do."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from project_fanout_tests.processes import environment


def run_refused(
    call: str, error: str, code: str, *arguments: str, home: Path, path: Path | None = None
) -> str:
    """Run *code* where each *call* of the process and its children fails with *error*; return its output.

    Args:
        call: the system call, as strace knows it.
        error: the name of the error.
        code: Python.
        arguments: of the code.
        home: DAGSTER_HOME.
        path: only calls that this file is an argument of, None for all.
    """
    if shutil.which("strace") is None:
        pytest.skip("no strace: sudo apt-get install strace")
    trace = home / "trace"
    command = [
        "strace",
        "-f",
        "-qq",
        "-o",
        str(trace),
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:error={error}",
    ]
    if path is not None:
        command += ["-P", str(path)]
    done = subprocess.run(
        [*command, sys.executable, "-c", code, *arguments],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "(INJECTED)" in trace.read_text(), done.stderr
    assert done.returncode == 0, done.stderr
    return done.stdout
