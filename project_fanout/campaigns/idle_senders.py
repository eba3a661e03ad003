"""Senders between two batches: kept open, because opening one costs more than a batch."""

import atexit
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from project_fanout.campaigns.sending import Sender
from project_fanout.campaigns.settings import Destination

# A pool's worker needs one. An inline pool runs a unit in each step's thread, and each step has a new thread.
_MOST = 8

_lock = threading.Lock()
_idle: list[tuple[tuple[str, Destination, str], Sender]] = []


@contextmanager
def borrowed_sender(campaign: str, destination: Destination, ledger_url: str) -> Iterator[Sender]:
    """Give a sender with these settings to nobody else meanwhile; make it if none of this process is idle.

    Those that are idle with other settings are closed: this process has gone on to another campaign.

    Raises:
        LedgerError: the database of the claims cannot be opened.
    """
    settings = (campaign, destination, ledger_url)
    with _lock:
        mine = [sender for own, sender in _idle if own == settings]
        others = [sender for own, sender in _idle if own != settings]
        sender = mine.pop() if mine else None
        _idle[:] = [(settings, idle) for idle in mine]
    for other in others:
        other.close()
    if sender is None:
        sender = Sender(*settings)
    try:
        yield sender
    finally:
        with _lock:
            keep = len(_idle) < _MOST
            if keep:
                _idle.append((settings, sender))
        if not keep:
            sender.close()


def close_idle_senders() -> None:
    """Close the senders of this process that nobody uses; the next batch makes one again."""
    with _lock:
        closing = [sender for _, sender in _idle]
        _idle.clear()
    for sender in closing:
        sender.close()


atexit.register(close_idle_senders)
