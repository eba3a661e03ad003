"""Send a batch of letters: claimed first, tried again while deferred, each with one outcome."""

import heapq
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from project_fanout.campaigns.connection import Connection, Reply, Unreachable
from project_fanout.campaigns.delivery import Delivery
from project_fanout.campaigns.delivery_claims import SAFE_AGE_S, Answer, DeliveryClaims
from project_fanout.campaigns.errors import CampaignError, UnprovenRefusalError
from project_fanout.campaigns.folders import private_folder
from project_fanout.campaigns.message import Letter
from project_fanout.campaigns.refusals import Refusals
from project_fanout.campaigns.run_notes import RunNotes
from project_fanout.campaigns.settings import Destination
from project_fanout.campaigns.sink import HOST, shared_sink
from project_fanout.common import backoff_s
from project_fanout.engine.errors import LedgerError

_FIRST_DELAY_S = 0.25
_LONGEST_DELAY_S = 15.0
_JITTER = 0.25
_LOOK_AGAIN_S = 0.25
# A batch at a slow rate takes minutes; what has been accepted is in the ledger after this long.
_CONFIRM_EVERY_S = 2.0
# A server that ends the connection at one recipient, each time, must not keep the others from theirs.
_MOST_LOSSES = 5

SENT_BEFORE = "sent before"
UNREACHABLE = "server unreachable"
ELSEWHERE = "being sent by another run"
STOPPED = "stopped by an error"


@dataclass(order=True, slots=True)
class _Try:
    """A letter that is to be tried at a time; *first_no_at*: when it was first put off, 0.0 for not yet."""

    ready_at: float
    place: int
    letter: Letter = field(compare=False)
    put_off: int = field(default=0, compare=False)
    first_no_at: float = field(default=0.0, compare=False)


class _Outage:
    """A time in which the server takes no mail; it is waited out for at most *longest_s*."""

    def __init__(self, longest_s: float) -> None:
        self._give_up_at = time.monotonic() + longest_s
        self._waits = 0

    def wait(self) -> bool:
        """Wait, longer each time, and return True; return False at once if the time is over."""
        left_s = self._give_up_at - time.monotonic()
        if left_s <= 0:
            return False
        self._waits += 1
        # The last wait ends with the time: what is allowed is used up.
        pause = min(left_s, backoff_s(self._waits, _FIRST_DELAY_S, _LONGEST_DELAY_S, _JITTER))
        # Nothing can be sent meanwhile, and nothing tells when the server is back.
        time.sleep(pause)
        return True


class Sender:
    """Sends for one campaign, one batch at a time; keeps its connection and its claims open between batches.

    Args:
        campaign: the campaign's name.
        destination: where mail goes.
        ledger_url: the database of the claims.

    Raises:
        LedgerError: the database cannot be opened.
    """

    def __init__(self, campaign: str, destination: Destination, ledger_url: str) -> None:
        self._server = destination.server
        folder, maildir = private_folder(destination.output_dir), destination.maildir
        self._claims = DeliveryClaims(ledger_url, destination.namespace(campaign), folder / "journals")
        # What stopped the last batch with its recipients unsent; None if nothing did.
        self.stopped: CampaignError | None = None
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
        # Of all campaigns to this server that share the ledger, on any machine.
        per_second = destination.server.max_per_second
        self._rate = None if per_second is None else self._claims.rate(f"mail to {name}", per_second)
        # The sink of this machine refuses nobody.
        self._notes = RunNotes(folder, name, destination.server.run if maildir is None else "")
        where = f"{destination.server.host}:{destination.server.resolved_port}"
        self._refusals = Refusals(where, self._notes)
        # Kept from batch to batch until the server takes mail again: it is waited for once.
        self._outage: _Outage | None = None

    def deliver(self, letters: Iterable[Letter], *, resend_unknown: bool = False) -> list[Delivery]:
        """Send *letters*, whose keys are distinct, and return one outcome for each, in any order.

        An error that comes when there are outcomes already is the reason why the others failed: who has been
        sent to must not be reported as failed. `stopped` holds it unless another attempt may help. It stops the
        run's other senders, too.

        Raises:
            CampaignError: the server cannot be used with these settings, or takes nothing from this sender.
            LedgerError: the claims could not be written.
        """
        by_key = {letter.key: letter for letter in letters}
        outcomes: dict[str, Delivery] = {}
        self.stopped = None
        try:
            self._deliver(by_key, outcomes, resend_unknown=resend_unknown)
        except (CampaignError, LedgerError) as error:
            if isinstance(error, CampaignError):
                self._stop(error)
            if not outcomes:
                raise
            for key in by_key.keys() - outcomes.keys():
                outcomes[key] = Delivery(by_key[key].row, key, "failed", STOPPED, str(error))
        return list(outcomes.values())

    def disconnect(self) -> None:
        """End the connection; the next batch opens one again."""
        self._connection.close()

    def close(self) -> None:
        """Settle the claims and close the connection."""
        try:
            self._claims.close()
        finally:
            self._connection.close()

    def _stop(self, error: CampaignError) -> None:
        self.stopped = error
        # After an unproven refusal the other batches may find the proof.
        if not isinstance(error, UnprovenRefusalError) and self._notes.told("stopped") is None:
            self._notes.tell("stopped", str(error))

    def _check_stopped(self) -> None:
        if (told := self._notes.told("stopped")) is not None:
            raise CampaignError(told)

    def _deliver(
        self, by_key: Mapping[str, Letter], outcomes: dict[str, Delivery], *, resend_unknown: bool
    ) -> None:
        self._check_stopped()
        give_up_at = time.monotonic() + self._server.retry_for_s
        wanted = list(by_key)
        while wanted:
            too_late = time.monotonic() >= give_up_at
            try:
                answers = self._claims.claim(wanted, resend_unknown=resend_unknown)
                for key, answer in answers.items():
                    if answer in ("confirmed", "unknown") or (answer == "elsewhere" and too_late):
                        outcomes[key] = _not_sent(by_key[key], answer)
                    if answer == "confirmed":
                        self._refusals.sent_before()
                self._send([by_key[key] for key, answer in answers.items() if answer == "mine"], outcomes)
            finally:
                self._claims.settle()
            wanted = [key for key in wanted if key not in outcomes]
            if wanted:
                # Nothing tells when another process has settled its claims, and the thread has no other work.
                time.sleep(_LOOK_AGAIN_S)

    def _send(self, letters: Sequence[Letter], outcomes: dict[str, Delivery]) -> None:
        self._refusals.begin_batch()
        self._try_all([_Try(0.0, place, letter) for place, letter in enumerate(letters)], outcomes)
        outcomes.update(_outcomes(self._refusals.end_batch()))

    def _try_all(self, waiting: list[_Try], outcomes: dict[str, Delivery]) -> None:
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
            self._check_stopped()
            reply = self._try(attempt.letter)
            if reply.verdict == "accepted":
                outcomes.update(_outcomes(self._refusals.accepted()))
            if reply.verdict == "busy":
                heapq.heappush(waiting, attempt)
                if self._wait_for_server():
                    continue
                outcomes.update(_outcomes((late.letter, reply) for late in waiting))
                return
            if reply.verdict in ("deferred", "lost") and self._put_off(attempt, reply):
                heapq.heappush(waiting, attempt)
            elif reply.verdict == "refused" and reply.by_server:
                self._refusals.add(attempt.letter, reply)
            else:
                outcomes[attempt.letter.key] = _outcome(attempt.letter, reply)

    def _try(self, letter: Letter) -> Reply:
        try:
            self._connection.connect()
            if self._rate is not None:
                self._rate.wait()
                # The server may have ended it meanwhile.
                self._connection.connect()
        except Unreachable as error:
            return Reply("busy", error.reason or UNREACHABLE, str(error))
        reply = self._connection.send(letter, partial(self._claims.begin, letter.key))
        if reply.verdict == "accepted":
            self._claims.accepted(letter.key, time.time())
        elif reply.verdict != "unknown":
            self._claims.not_accepted(letter.key)
        if reply.verdict not in ("busy", "lost"):
            self._outage = None
        return reply

    def _wait_for_server(self) -> bool:
        if self._outage is None:
            self._outage = _Outage(self._server.retry_for_s)
        return self._outage.wait()

    def _put_off(self, attempt: _Try, reply: Reply) -> bool:
        """Say when *attempt* is due again, the last time when its time is over; return False after that."""
        now = time.monotonic()
        attempt.put_off += 1
        attempt.first_no_at = attempt.first_no_at or now
        if reply.verdict == "lost" and attempt.put_off >= _MOST_LOSSES:
            return False
        limit_s = self._server.retry_for_s if reply.verdict == "lost" else self._server.deferred_for_s
        over_at = attempt.first_no_at + limit_s
        pause = backoff_s(attempt.put_off, _FIRST_DELAY_S, _LONGEST_DELAY_S, _JITTER)
        attempt.ready_at = min(now + pause, over_at)
        return now < over_at


def _outcomes(replies: Iterable[tuple[Letter, Reply]]) -> dict[str, Delivery]:
    return {letter.key: _outcome(letter, reply) for letter, reply in replies}


def _outcome(letter: Letter, reply: Reply) -> Delivery:
    if reply.verdict == "accepted":
        return Delivery(letter.row, letter.key, "sent", sent_at=round(time.time(), 3))
    if reply.verdict in ("refused", "unknown"):
        return Delivery(letter.row, letter.key, reply.verdict, reply.reason, reply.detail)
    return Delivery(
        letter.row, letter.key, "failed", reply.reason, f"{reply.detail}; a later run sends to them"
    )


def _not_sent(letter: Letter, answer: Answer) -> Delivery:
    if answer == "confirmed":
        return Delivery(letter.row, letter.key, "sent", SENT_BEFORE)
    if answer == "elsewhere":
        return Delivery(
            letter.row, letter.key, "unknown", ELSEWHERE, "it was still at it when retry_for_s had passed"
        )
    detail = (
        "an earlier sender was stopped while the server was taking it; resend_unknown sends it again, or, if that "
        f"sender had another output_dir or machine, {SAFE_AGE_S / 3600:g} hours after its claim"
    )
    return Delivery(letter.row, letter.key, "unknown", "claimed, not confirmed", detail)
