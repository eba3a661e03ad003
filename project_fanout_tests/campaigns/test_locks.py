"""Where a file system has no locks, no message is sent, and the error says what to do."""

from pathlib import Path

import pytest

from project_fanout_tests.failing_calls import run_refused

#: Opens a sender's journal, and prints the error.
CODE = """
import sys
from pathlib import Path
from project_fanout.campaigns.journal import Journal, dead_journals, one_at_a_time
from project_fanout.engine.errors import LedgerError
folder = Path(sys.argv[1])
def enter(block):
    with block:
        raise AssertionError("no error")
for attempt in (lambda: Journal(folder), lambda: enter(one_at_a_time(folder)), lambda: enter(dead_journals(folder))):
    try:
        attempt()
    except LedgerError as error:
        print(error)
"""


@pytest.mark.parametrize("error", ["ENOSYS", "EOPNOTSUPP", "ENOLCK"])
def test_a_folder_without_locks(error: str, tmp_path: Path) -> None:
    """As on Lustre or an old NFS: folder, file system and setting are named, and no journal is left behind."""
    folder = tmp_path / "journals"
    folder.mkdir()
    (folder / "dead.journal").touch()
    said = run_refused("flock", error, CODE, str(folder), home=tmp_path).splitlines()
    assert len(said) == 3
    for line in said:
        assert str(folder) in line and "cannot be locked" in line
        assert "It is on " in line and "output_dir" in line
    assert not list(folder.glob("*.new"))
