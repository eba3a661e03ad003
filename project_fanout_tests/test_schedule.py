"""What the tests of a file share is made once, also where two workers run them."""

from pathlib import Path

from project_fanout_tests.processes import run_python

CONFTEST = "from project_fanout_tests.conftest import pytest_xdist_make_scheduler  # noqa: F401"
TESTS = """
import os
import pytest

@pytest.mark.parametrize("number", range(6))
def test_who(number):
    with open(os.environ["PYTEST_XDIST_WORKER"], "a") as file:
        print(__name__, file=file)
"""


def test_a_file_is_run_by_one_worker(tmp_path: Path) -> None:
    """Two workers share out the files and not their tests, so that no fixture of a module is made twice."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    names = ["test_one", "test_three", "test_two"]
    for name in names:
        (tmp_path / f"{name}.py").write_text(TESTS)
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", ".")
    run = run_python(*command, home=tmp_path, folder=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    ran = [(tmp_path / worker).read_text().split() for worker in ("gw0", "gw1")]
    assert sorted(name for names in ran for name in set(names)) == names
    assert len(ran[0] + ran[1]) == 18
