"""Senders between batches."""

import threading
from pathlib import Path

import pytest

from project_fanout.campaigns import idle_senders
from project_fanout.campaigns.idle_senders import borrowed_sender, close_idle_senders
from project_fanout.campaigns.settings import Destination
from project_fanout_tests.campaigns.servers import scripted
from project_fanout_tests.campaigns.test_sending import letter, server
from project_fanout_tests.waiting import wait_until


def test_a_thread_for_each_step_needs_no_sender_for_each(tmp_path: Path) -> None:
    """Forty steps in threads of one process, two at a time, use two connections and two journals, not forty."""
    together = threading.Barrier(2)

    def step(campaign: str, row: int) -> None:
        with borrowed_sender(campaign, destination, str(tmp_path / "ledger.db")) as sender:
            together.wait(30)
            assert sender.deliver([letter(f"reader{row}", row)])[0].status == "sent"

    with scripted(lambda line: None) as mail:
        destination = Destination.of(server(mail.port), deliver=True, output_dir=str(tmp_path))
        for campaign in ("spring", "autumn"):
            for first in range(0, 40, 2):
                threads = [threading.Thread(target=step, args=(campaign, first + row)) for row in range(2)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(30)
        assert mail.count("EHLO") == 4
        assert mail.count("QUIT") == 2, "those of the campaign before have been closed"
        assert sum(mail.kept.values()) == 80
        assert len(list(tmp_path.rglob("*.journal"))) == 2
    close_idle_senders()
    assert list(tmp_path.rglob("*.journal")) == []


def test_a_worker_without_a_batch_holds_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection of an idle sender is free for another one; its own next batch gets a new one."""
    monkeypatch.setattr(idle_senders, "_DISCONNECT_AFTER_S", 0.05)
    with scripted(lambda line: None) as mail:
        destination = Destination.of(server(mail.port), deliver=True, output_dir=str(tmp_path))
        for row in range(3):
            with borrowed_sender("spring", destination, str(tmp_path / "ledger.db")) as one:
                assert one.deliver([letter(f"reader{row}", row)])[0].status == "sent"
            wait_until(lambda row=row: mail.count("QUIT") == row + 1, "the idle sender has said goodbye")
        assert len(list(tmp_path.rglob("*.journal"))) == 1, "it is the same sender each time"
