"""Who may send to whom: claims in the ledger, made exact by the senders' journals."""

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from project_fanout.campaigns.journal import Journal, dead_journals, keys_in_work, one_at_a_time
from project_fanout.engine.ledger import Claims
from project_fanout.engine.rate import Rate

#: A batch is settled within this time, also at a slow rate, so that an older claim of a sender that cannot be
#: seen from here is left over.
SAFE_AGE_S = 24 * 3600.0

#: mine: send it. confirmed: it has been sent. elsewhere: another sender has it in work. unknown: a
#: sender was killed while the server was taking it, or it is another machine's.
Answer = Literal["mine", "confirmed", "elsewhere", "unknown"]


class DeliveryClaims:
    """The claims of one sender, for one thread.

    Args:
        url: the ledger's database.
        namespace: the campaign and where its mail goes.
        folder: where the senders on this machine keep their journals.

    Raises:
        LedgerError: the database cannot be opened.
    """

    def __init__(self, url: str, namespace: str, folder: Path) -> None:
        self._claims = Claims(url)
        self._namespace = namespace
        self._folder = folder / hashlib.sha256(namespace.encode()).hexdigest()[:16]
        self._journal = Journal(self._folder)
        self._accepted: dict[str, float] = {}
        self._mine: set[str] = set()
        self._open: set[str] = set()
        with one_at_a_time(self._folder):
            self._settle_the_dead()

    def rate(self, name: str, per_second: float) -> Rate:
        """Return the rate *name*, which all who use the ledger share."""
        return self._claims.rate(name, per_second)

    def claim(self, keys: Iterable[str], *, resend_unknown: bool = False) -> dict[str, Answer]:
        """Claim *keys* and return for each who has it; what is mine has to be settled.

        Args:
            keys: whom to send to.
            resend_unknown: take over what is unknown, with the risk that somebody gets it twice; what was
                claimed in another folder or on another machine only after `SAFE_AGE_S`.

        Raises:
            LedgerError: the database could not be written.
        """
        answers = self._ask(keys)
        if self._unknown(answers):
            # One sender at a time, so that none takes a journal that another looks at for a living one's.
            with one_at_a_time(self._folder):
                self._settle_the_dead()
                if resend_unknown:
                    self._take_over(self._unknown(answers))
                in_work = keys_in_work(self._folder)
                answers.update(self._ask(self._unknown(answers)))
                # Looked at before and after: in between, a living sender may have claimed it, or settled it.
                in_work |= keys_in_work(self._folder)
                answers.update((key, "elsewhere") for key in self._unknown(answers) if key in in_work)
        return answers

    def _take_over(self, keys: Iterable[str]) -> None:
        """Release what nobody has in work any more.

        What a sender of this folder has in work is in its journal from before it claims until after it
        settles; so what is found claimed first, and in no living journal after that, is left over. It is
        released as it was found. Of senders elsewhere nothing can be seen from here, only for how long.
        """
        found = self._claims.find(self._namespace, keys)
        in_work = keys_in_work(self._folder)
        long_ago = time.time() - SAFE_AGE_S
        self._claims.take_back(
            claim
            for key, claim in found.items()
            if key not in in_work
            and (self._journal.is_neighbour(claim.run_id) or claim.claimed_at < long_ago)
        )

    def begin(self, key: str) -> None:
        """Say that the content of *key*'s message is about to be sent."""
        self._journal.begin(key)
        self._open.add(key)

    def not_accepted(self, key: str) -> None:
        """Say that the server did not take *key*'s message."""
        self._open.discard(key)
        self._journal.not_accepted(key)

    def accepted(self, key: str, at: float) -> None:
        """Say that the server took *key*'s message, at *at* in seconds since 1970 (UTC)."""
        self._open.discard(key)
        self._accepted[key] = at
        self._journal.accepted(key, at)

    def confirm(self) -> None:
        """Put in the ledger what has been accepted until now.

        Raises:
            LedgerError: the database could not be written; the next call tries again.
        """
        if self._accepted:
            details = {key: {"accepted_at": at} for key, at in self._accepted.items()}
            self._claims.confirm(self._namespace, details, self._journal.sender)
            self._mine -= set(self._accepted)
            self._accepted = {}

    def settle(self) -> None:
        """Confirm what has been accepted and release what has not been begun; what is open stays unknown.

        Raises:
            LedgerError: the database could not be written; the next call tries again.
        """
        self.confirm()
        if free := self._mine - self._open:
            self._claims.release(self._namespace, free, run_id=self._journal.sender)
        self._mine, self._open = set(), set()
        self._journal.clear()

    def close(self) -> None:
        """Settle, and close files and connections."""
        try:
            self.settle()
        finally:
            self._journal.close()
            self._claims.close()

    def _ask(self, keys: Iterable[str]) -> dict[str, Answer]:
        wanted = list(keys)
        if not wanted:
            return {}
        self._journal.claiming(wanted)
        given = self._claims.claim(self._namespace, wanted, self._journal.sender)
        answers: dict[str, Answer] = {
            key: "mine" if answer == "claimed" else answer for key, answer in given.items()
        }
        self._mine |= {key for key, answer in answers.items() if answer == "mine"}
        if others := [key for key, answer in answers.items() if answer != "mine"]:
            self._journal.not_claimed(others)
        return answers

    def _settle_the_dead(self) -> None:
        with dead_journals(self._folder) as journals:
            for notes in journals:
                details = {key: {"accepted_at": at} for key, at in notes.accepted.items()}
                self._claims.confirm(self._namespace, details, notes.sender)
                self._claims.release(self._namespace, notes.not_begun, run_id=notes.sender)

    @staticmethod
    def _unknown(answers: dict[str, Answer]) -> list[str]:
        return [key for key, answer in answers.items() if answer == "unknown"]
