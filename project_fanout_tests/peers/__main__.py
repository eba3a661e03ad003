"""Run Dagster's own tests with `fanout_executor`: `python -m project_fanout_tests.peers FOLDER [pytest options]`."""

import os
import subprocess
import sys
from pathlib import Path

#: Below `dagster_tests/`: what executes jobs and does not speak of one executor's processes.
TESTS = [
    "execution_tests/dynamic_tests",
    "execution_tests/execute_job_tests",
    "execution_tests/misc_execution_tests/test_api_iterators.py",
    "execution_tests/misc_execution_tests/test_async.py",
    "execution_tests/misc_execution_tests/test_context.py",
    "core_tests/test_job_errors.py",
]

#: Tests that cannot hold, and why.
LEFT_OUT = {
    "execution_tests/dynamic_tests/test_dynamic_output.py::test_context_mapping_key": (
        "expects the in-process executor's order of steps that do not depend on each other"
    ),
}


def main(folder: Path, options: list[str]) -> int:
    """Run the tests in *folder*, where Dagster's `dagster_tests` is; return pytest's exit code."""
    for test, why in LEFT_OUT.items():
        print(f"Left out: {test}, which {why}.", flush=True)
    settings = folder / "pytest.ini"
    settings.write_text("[pytest]\n")  # not this project's own
    tests = folder / "dagster_tests"
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    command = [
        *(sys.executable, "-m", "pytest", "-p", "project_fanout_tests.peers.plugin"),
        *("-c", str(settings), "--rootdir", str(folder), "--confcutdir", str(tests / "execution_tests")),
        *("-p", "no:cacheprovider", "--disable-warnings", "-q", "-rfE"),
        *(f"--deselect=dagster_tests/{test}" for test in LEFT_OUT),
        *options,
        *(str(tests / name) for name in TESTS),
    ]
    return subprocess.run(command, check=False, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
