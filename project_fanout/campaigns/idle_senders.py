"""Senders between two batches: kept open, because opening one costs more than a batch."""

import atexit
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from project_fanout.campaigns.sending import Sender
from project_fanout.campaigns.settings import Destination

# A pool's worker needs one for each of its units_per_worker. An inline pool runs a unit in each step's thread, and each
# step has a new thread.
_MOST = 128
# Servers allow a number of connections, and another worker may be waiting for this one. The next batch, if there is
# one, comes within milliseconds.
_DISCONNECT_AFTER_S = 1.0

_Settings = tuple[str, Destination, str]

_lock = threading.Lock()


class _Idle:
    """A sender that nobody uses; after a while it has no connection any more."""

    def __init__(self, settings: _Settings, sender: Sender) -> None:
        self.settings = settings
        self.sender = sender
        self._timer = threading.Timer(_DISCONNECT_AFTER_S, self._disconnect)
        self._timer.daemon = True
        self._timer.start()

    def taken(self) -> Sender:
        self._timer.cancel()
        return self.sender

    def _disconnect(self) -> None:
        with _lock:
            if self not in _idle:
                return
            # Nobody's meanwhile: the goodbye waits for the server's answer.
            _idle.remove(self)
        self.sender.disconnect()
        with _lock:
            _idle.append(self)


_idle: list[_Idle] = []


@contextmanager
def borrowed_sender(campaign: str, destination: Destination, ledger_url: str) -> Iterator[Sender]:
    """Give a sender with these settings to nobody else meanwhile; make it if none of this process is idle.

    Those that are idle with other settings are closed: this process has gone on to another campaign.

    Raises:
        LedgerError: the database of the claims cannot be opened.
    """
    settings = (campaign, destination, ledger_url)
    with _lock:
        mine = [idle for idle in _idle if idle.settings == settings]
        others = [idle for idle in _idle if idle.settings != settings]
        sender = mine.pop().taken() if mine else None
        _idle[:] = mine
    for other in others:
        other.taken().close()
    if sender is None:
        sender = Sender(*settings)
    try:
        yield sender
    finally:
        with _lock:
            keep = len(_idle) < _MOST
            if keep:
                _idle.append(_Idle(settings, sender))
        if not keep:
            sender.close()


def close_idle_senders() -> None:
    """Close the senders of this process that nobody uses; the next batch makes one again."""
    with _lock:
        closing = [idle.taken() for idle in _idle]
        _idle.clear()
    for sender in closing:
        sender.close()


atexit.register(close_idle_senders)
