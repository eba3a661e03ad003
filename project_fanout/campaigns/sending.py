"""Send a batch of letters: claimed first, tried again while deferred, each with one outcome."""

import heapq
import random
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from project_fanout.campaigns.connection import Connection, Reply, Unreachable
from project_fanout.campaigns.delivery import Delivery
from project_fanout.campaigns.delivery_claims import Answer, DeliveryClaims
from project_fanout.campaigns.message import Letter
from project_fanout.campaigns.rate import RateLimit
from project_fanout.campaigns.settings import Destination
from project_fanout.campaigns.sink import HOST, shared_sink

_FIRST_DELAY_S = 0.25
_LONGEST_DELAY_S = 15.0
_LOOK_AGAIN_S = 0.25
# A batch at a slow rate takes minutes; what has been accepted is in the ledger after this long.
_CONFIRM_EVERY_S = 2.0

SENT_BEFORE = "sent before"
UNREACHABLE = "server unreachable"
ELSEWHERE = "in work elsewhere"


def delay_s(attempt: int) -> float:
    """Return how long to wait after the *attempt*-th try: doubled each time, and varied by chance."""
    return float(min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(attempt - 1, 10))) * random.uniform(
        0.75, 1.25
    )


@dataclass(order=True, slots=True)
class _Try:
    """A letter that is to be tried at a time; *first_at*: when it was tried first, 0.0 for not yet."""

    ready_at: float
    place: int
    letter: Letter = field(compare=False)
    attempts: int = field(default=0, compare=False)
    first_at: float = field(default=0.0, compare=False)


class Sender:
    """Sends for one campaign from one thread; keeps its connection and its claims open between batches.

    Args:
        campaign: the campaign's name.
        destination: where mail goes.
        ledger_url: the database of the claims.

    Raises:
        LedgerError: the database cannot be opened.
    """

    _of_thread: ClassVar[threading.local] = threading.local()

    def __init__(self, campaign: str, destination: Destination, ledger_url: str) -> None:
        self._server = destination.server
        folder, maildir = destination.output_dir, destination.maildir
        self._claims = DeliveryClaims(ledger_url, destination.namespace(campaign), folder / "journals")
        self._rate: RateLimit | None = None
        if maildir is None:
            host, port = destination.server.host or "", destination.server.resolved_port
            self._connection = Connection(destination.server, lambda: (host, port))
            name = f"{host}-{port}"
        else:
            kept = maildir
            self._connection = Connection(
                destination.server, lambda: (HOST, shared_sink(kept).port), secure=False
            )
            name = "maildir"
        if destination.server.max_per_second is not None:
            self._rate = RateLimit(folder / f"{name}.rate", destination.server.max_per_second)
        self._gave_up = False

    @classmethod
    def of_this_thread(cls, campaign: str, destination: Destination, ledger_url: str) -> "Sender":
        """Return the sender that this thread has for these settings; make it if need be."""
        kept: tuple[object, Sender] | None = getattr(cls._of_thread, "kept", None)
        settings = (campaign, destination, ledger_url)
        if kept is not None and kept[0] == settings:
            return kept[1]
        if kept is not None:
            kept[1].close()
            del cls._of_thread.kept
        cls._of_thread.kept = (settings, sender := cls(*settings))
        return sender

    def deliver(self, letters: Iterable[Letter], *, resend_unknown: bool = False) -> list[Delivery]:
        """Send *letters*, whose keys are distinct, and return one outcome for each, in any order.

        Raises:
            CampaignError: the server cannot be used with these settings. What has been accepted is settled.
            LedgerError: the claims could not be written.
        """
        by_key = {letter.key: letter for letter in letters}
        outcomes: list[Delivery] = []
        give_up_at = time.monotonic() + self._server.retry_for_s
        while by_key:
            answers = self._claims.claim(by_key, resend_unknown=resend_unknown)
            try:
                outcomes += self._send([by_key[key] for key, answer in answers.items() if answer == "mine"])
            finally:
                self._claims.settle()
            too_late = time.monotonic() >= give_up_at
            for key, answer in answers.items():
                if answer == "mine" or (answer == "elsewhere" and not too_late):
                    continue
                outcomes.append(_not_sent(by_key[key], answer))
            by_key = {
                key: by_key[key] for key, answer in answers.items() if answer == "elsewhere" and not too_late
            }
            if by_key:
                # Nothing tells when another process has settled its claims, and the thread has no other work.
                time.sleep(_LOOK_AGAIN_S)
        return outcomes

    def close(self) -> None:
        """Settle the claims and take leave of the server."""
        try:
            self._claims.close()
        finally:
            self._connection.close()
            if self._rate is not None:
                self._rate.close()

    def _send(self, letters: list[Letter]) -> list[Delivery]:
        waiting = [_Try(0.0, place, letter) for place, letter in enumerate(letters)]
        outcomes = []
        confirm_at = time.monotonic() + _CONFIRM_EVERY_S
        while waiting:
            attempt = heapq.heappop(waiting)
            now = time.monotonic()
            if now >= confirm_at:
                self._claims.confirm()
                confirm_at = now + _CONFIRM_EVERY_S
            if attempt.ready_at > now:
                # It is the first that is due, and the thread has no other work.
                time.sleep(attempt.ready_at - now)
            try:
                self._connect()
            except Unreachable as error:
                left = [attempt, *waiting]
                outcomes += [
                    _outcome(each.letter, Reply("deferred", UNREACHABLE, str(error))) for each in left
                ]
                break
            reply = self._try(attempt)
            if reply.verdict in ("deferred", "lost") and self._has_time(attempt):
                attempt.ready_at = time.monotonic() + delay_s(attempt.attempts)
                heapq.heappush(waiting, attempt)
            else:
                outcomes.append(_outcome(attempt.letter, reply))
        return outcomes

    def _try(self, attempt: _Try) -> Reply:
        if self._rate is not None:
            self._rate.acquire()
        attempt.attempts += 1
        attempt.first_at = attempt.first_at or time.monotonic()
        key = attempt.letter.key
        reply = self._connection.send(attempt.letter, partial(self._claims.begin, key))
        if reply.verdict == "accepted":
            self._claims.accepted(key, time.time())
        elif reply.verdict != "unknown":
            self._claims.not_accepted(key)
        return reply

    def _has_time(self, attempt: _Try) -> bool:
        return time.monotonic() + delay_s(attempt.attempts) < attempt.first_at + self._server.retry_for_s

    def _connect(self) -> None:
        """Connect, waiting for the server if need be, but only once as long as it does not come back."""
        give_up_at = time.monotonic() + (0.0 if self._gave_up else self._server.retry_for_s)
        tries = 0
        while True:
            try:
                self._connection.connect()
            except Unreachable:
                tries += 1
                pause = delay_s(tries)
                if time.monotonic() + pause >= give_up_at:
                    self._gave_up = True
                    raise
                # Nothing can be sent meanwhile, and nothing tells when the server is back.
                time.sleep(pause)
            else:
                self._gave_up = False
                return


def _outcome(letter: Letter, reply: Reply) -> Delivery:
    if reply.verdict == "accepted":
        return Delivery(letter.row, letter.key, "sent", sent_at=round(time.time(), 3))
    status = {"refused": "refused", "unknown": "unknown"}.get(reply.verdict, "failed")
    return Delivery(letter.row, letter.key, status, reply.reason, reply.detail)  # type: ignore[arg-type]  # one of the literals


def _not_sent(letter: Letter, answer: Answer) -> Delivery:
    if answer == "confirmed":
        return Delivery(letter.row, letter.key, "sent", SENT_BEFORE)
    if answer == "elsewhere":
        return Delivery(letter.row, letter.key, "unknown", ELSEWHERE, "another run was sending it")
    detail = "an earlier sender was stopped while the server was taking it; resend_unknown sends it again"
    return Delivery(letter.row, letter.key, "unknown", "claimed, not confirmed", detail)
