"""A ledger on a network's file system works as well as that allows, and says what it is on where it does not."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from project_fanout import file_systems
from project_fanout.engine.ledger import Ledger, LedgerFilter
from project_fanout.file_systems import file_system
from project_fanout_tests.engine.ledger.support import make_entry
from project_fanout_tests.failing_calls import run_refused

#: Opens a ledger, keeps an outcome, and prints how many there are; or prints the error.
CODE = """
import sys
from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger import Ledger, LedgerFilter
from project_fanout_tests.engine.ledger.support import make_entry
try:
    with Ledger(sys.argv[1], lock_timeout_s=0.2) as ledger:
        ledger.put(make_entry("second"))
        ledger.flush()
        print(len(ledger.entries(LedgerFilter())))
except LedgerError as error:
    print(error)
"""


def mode(path: Path) -> str:
    with closing(sqlite3.connect(path)) as database:
        found: str = database.execute("PRAGMA journal_mode").fetchone()[0]
        return found


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "there"])
@pytest.mark.parametrize(("call", "error"), [("mmap", "ENODEV"), ("openat", "EACCES"), ("fcntl", "ENOLCK")])
def test_memory_that_cannot_be_shared_is_done_without(
    call: str, error: str, is_new: bool, tmp_path: Path
) -> None:
    """Where WAL's file of shared memory cannot be opened, mapped or locked, the ledger has a rollback journal."""
    path = tmp_path / "ledger.db"
    if not is_new:
        with Ledger(path) as ledger:
            ledger.put(make_entry("first"))
        assert mode(path) == "wal"
    memory = path.with_name("ledger.db-shm")
    assert run_refused(call, error, CODE, str(path), home=tmp_path, path=memory).split() == [str(2 - is_new)]
    assert mode(path) == "delete"


@pytest.mark.parametrize("error", ["EOPNOTSUPP", "ENOSYS", "ENOLCK"])
def test_no_locks_at_all(error: str, tmp_path: Path) -> None:
    """Without locks the error names the file, its file system and the setting; it is not told to make room."""
    path = tmp_path / "ledger.db"
    said = run_refused("fcntl", error, CODE, str(path), home=tmp_path, path=path)
    place = file_system(path)
    assert place is not None
    for part in (str(path), f"It is on {place.kind}, mounted on {place.mount}", "FANOUT_LEDGER_URL", "locks"):
        assert part in said
    assert "Make room" not in said


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "lustre", "9p", "fuse.sshfs", "virtiofs"])
@pytest.mark.parametrize("is_new", [True, False], ids=["new", "there"])
def test_a_shared_file_system_has_no_wal(
    kind: str, is_new: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On file systems that machines share they would not see each other's memory: a rollback journal works there."""
    path = tmp_path / "ledger.db"
    if not is_new:
        with Ledger(path) as ledger:
            ledger.put(make_entry("first"))
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/data {tmp_path} {kind} rw 0 0\n")
    monkeypatch.setattr(file_systems, "MOUNTS", mounts)
    with Ledger(path) as ledger, Ledger(path) as other:
        ledger.put(make_entry("second"))
        ledger.flush()
        other.put(make_entry("third"))
        other.flush()
        assert len(ledger.entries(LedgerFilter())) == 3 - is_new
    assert mode(path) == "delete"


@pytest.mark.parametrize("kind", ["ext4", "overlay", "tmpfs", "xfs", "zfs", "btrfs", "apfs", "fuseblk"])
def test_a_file_system_of_one_machine_has(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everywhere else readers and writers do not wait for each other, as before."""
    (tmp_path / "mounts").write_text(f"disk / {kind} rw 0 0\n")
    monkeypatch.setattr(file_systems, "MOUNTS", tmp_path / "mounts")
    with Ledger(tmp_path / "ledger.db"):
        pass
    assert mode(tmp_path / "ledger.db") == "wal"


NAMES = st.text("ab \t\\é", min_size=1, max_size=3)


@given(st.lists(NAMES, min_size=1, max_size=4), st.integers(0, 3))
def test_the_nearest_mount_counts(folders: list[str], depth: int) -> None:
    """Of the folders above a file the nearest that is mounted counts, whatever its name, and not one beside it."""
    depth = min(depth, len(folders))
    mount = "/" + "/".join(["far away", *folders[:depth]])
    written = "".join(f"\\{ord(sign):03o}" if sign in " \t\n\\" else sign for sign in mount)
    mounts = f"disk / ext4 rw 0 0\nserver {written} nfs4 rw 0 0\nother {written}b lustre rw 0 0\n"
    path = "/" + "/".join(["far away", *folders, "ledger.db"])
    found = file_system(path, mounts)
    beside = path.startswith(f"{mount}b/")
    assert found is not None and found.kind == ("lustre" if beside else "nfs4")
    assert file_system(path, mounts + f"late {written} xfs rw 0 0\nlate {written}b xfs rw 0 0\n") == (
        "xfs",
        mount + "b" * beside,
    )
