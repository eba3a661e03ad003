"""Who may send to whom when senders die, or cannot be seen."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from project_fanout.campaigns import delivery_claims
from project_fanout.campaigns.delivery_claims import DeliveryClaims
from project_fanout.engine.errors import LedgerError

CLAIMER = """
import sys, time
from pathlib import Path
from project_fanout.campaigns.delivery_claims import DeliveryClaims
claims = DeliveryClaims(sys.argv[1], "spring", Path(sys.argv[2]))
claims.claim(["not-begun", "begun", "accepted", "rejected"])
claims.begin("begun")
claims.begin("accepted"); claims.accepted("accepted", 1.0)
claims.begin("rejected"); claims.not_accepted("rejected")
print("ready", flush=True)
time.sleep(600)
"""
EVERYBODY = ["not-begun", "begun", "accepted", "rejected"]


@contextmanager
def living_sender(url: str, folder: Path) -> Iterator[None]:
    """Have another process claim for everybody, and kill it at the end of the block."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", CLAIMER, url, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            other.send_signal(signal.SIGKILL)


def test_a_killed_sender_leaves_one_message_in_doubt(tmp_path: Path) -> None:
    """While a sender lives, its recipients are its own; when it is killed, only the one under way is unknown."""
    url, folder = str(tmp_path / "ledger.db"), tmp_path / "journals"
    claims = DeliveryClaims(url, "spring", folder)
    with living_sender(url, folder):
        while_it_lives = claims.claim([*EVERYBODY, "nobody's"], resend_unknown=True)
    afterwards = claims.claim(EVERYBODY)

    assert while_it_lives == {**dict.fromkeys(EVERYBODY, "elsewhere"), "nobody's": "mine"}
    assert afterwards == {
        "not-begun": "mine",
        "rejected": "mine",
        "begun": "unknown",
        "accepted": "confirmed",
    }
    claims.settle()
    assert claims.claim(["begun"], resend_unknown=True) == {"begun": "mine"}
    claims.close()
    assert list(folder.rglob("*.journal")) == []


@pytest.mark.parametrize("what", ["a power cut", "a full disk"])
def test_nothing_is_concluded_from_what_a_journal_may_have_lost(what: str, tmp_path: Path) -> None:
    """After a power cut or a full disk, who is not noted as begun is unknown, and the campaign goes on."""
    url, folder = str(tmp_path / "ledger.db"), tmp_path / "journals"
    with living_sender(url, folder):
        (journal,) = folder.rglob("*.journal")
    notes = journal.read_text()
    if what == "a power cut":
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        assert boot in notes
        notes = notes.replace(boot, "an earlier start of the machine")
    else:
        notes = notes.replace('{"begun": "rejected"}', '{"begun": "rej')
    journal.write_text(notes)

    claims = DeliveryClaims(url, "spring", folder)
    answers = claims.claim([*EVERYBODY, "nobody's"])
    assert answers == {**dict.fromkeys(EVERYBODY, "unknown"), "accepted": "confirmed", "nobody's": "mine"}
    assert claims.claim(["not-begun"], resend_unknown=True) == {"not-begun": "mine"}
    claims.close()


def test_a_full_disk_stops_the_sender_before_it_sends(tmp_path: Path) -> None:
    """A note that does not fit is an error that names the journal, and what was claimed is free again."""
    claims = DeliveryClaims(str(tmp_path / "ledger.db"), "spring", tmp_path / "journals")
    claims.claim(["begun", "not-begun"])
    claims.begin("begun")
    (journal,) = tmp_path.rglob("*.journal")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Room for a part of the note.
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.stat().st_size + 5, limits[1]))
    try:
        with pytest.raises(LedgerError, match=r"journal .* cannot be written: File too large"):
            claims.begin("not-begun")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    claims.accepted("begun", 1.0)
    assert '\n{"accepted": "begun", "at": 1.0}\n' in journal.read_text()
    claims.close()
    later = DeliveryClaims(str(tmp_path / "ledger.db"), "spring", tmp_path / "journals")
    assert later.claim(["begun", "not-begun"]) == {"begun": "confirmed", "not-begun": "mine"}
    later.close()


def test_nobody_is_taken_from_a_sender_that_cannot_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a shared ledger and another output_dir, resend_unknown waits until no sender can have them any more."""
    url = str(tmp_path / "ledger.db")
    claims = DeliveryClaims(url, "spring", tmp_path / "mine")
    with living_sender(url, tmp_path / "theirs"):
        assert claims.claim(EVERYBODY, resend_unknown=True) == dict.fromkeys(EVERYBODY, "unknown")
        monkeypatch.setattr(delivery_claims, "SAFE_AGE_S", -1.0)
        assert claims.claim(EVERYBODY, resend_unknown=True) == dict.fromkeys(EVERYBODY, "mine")
    claims.close()


def test_nobody_is_taken_from_a_sender_that_was_quicker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one sender gives back and another takes, while a third is about to take it over, stays the second's."""
    first, second, third = (
        DeliveryClaims(str(tmp_path / "ledger.db"), "spring", tmp_path / "journals") for _ in range(3)
    )
    assert first.claim(["reader"]) == {"reader": "mine"}
    looked = delivery_claims.keys_in_work
    taken: list[dict[str, str]] = []

    def meanwhile(folder: Path) -> set[str]:
        if not taken:
            first.settle()
            found = looked(folder)
            taken.append({**second.claim(["reader"])})
            return found
        return looked(folder)

    monkeypatch.setattr(delivery_claims, "keys_in_work", meanwhile)
    assert third.claim(["reader"], resend_unknown=True) == {"reader": "elsewhere"}
    assert taken == [{"reader": "mine"}]
    for each in (first, second, third):
        each.close()
