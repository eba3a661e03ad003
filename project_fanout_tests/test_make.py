"""What `make` runs does not look like a fault where there is none."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from project_fanout_tests.processes import ROOT, environment


def test_make_dev_starts_without_a_warning(tmp_path: Path) -> None:
    """The first lines that a newcomer sees hold no warning."""
    makefile = (ROOT / "Makefile").read_text()
    [command] = re.findall(r"^\t@(.*\$\(BIN\)/dagster dev)$", makefile, re.MULTILINE)
    (tmp_path / "empty.py").touch()
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster_home.yaml").read_text())  # as `make home` does
    process = subprocess.Popen(
        ["sh", "-c", f"exec env {command.replace('$(BIN)/dagster', 'dagster')} -f {tmp_path / 'empty.py'}"],
        cwd=ROOT,
        env={
            **environment(tmp_path),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    seen = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            seen.append(line)
            if "Launching Dagster services" in line:
                break
    finally:
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert seen, rest
    assert "Launching Dagster services" in seen[-1]
    assert [line for line in seen if "warning" in line.lower()] == []
