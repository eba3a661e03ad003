"""The refusals that a sender meets: on trial until it is clear whom they are about."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from project_fanout.campaigns.connection import Reply
from project_fanout.campaigns.errors import CampaignError, UnprovenRefusalError
from project_fanout.campaigns.message import Letter
from project_fanout.campaigns.party import party_of
from project_fanout.campaigns.run_notes import RunNotes

#: So many refused alike with nobody accepted in between are no coincidence: of lists in which a third of the
#: addresses are dead, one in 60,000 begins so.
MANY = 10
#: And so many where the codes do not tell and the run has had somebody accepted: servers without enhanced codes, as
#: Exim is, say of a spent quota what they say of ten dead addresses of one company.
MANY_UNSAID = 25

_NOBODY_REFUSED = "Nobody is marked refused for it; a later run, or *Re-execute from failure*, sends to them."
_CHECK_SENDER = (
    "Check message.sender, whether the server takes mail from this machine or login, and the sender's quota."
)

Refused = tuple[Letter, Reply]


class Refusals:
    """Tells refusals of recipients from those of the sender, by their codes and by who is accepted meanwhile.

    A code that is about the sender settles it at once. Of a code that servers use for both, one among others who
    are accepted is the recipient's; many alike with nobody accepted in between are the sender's. So are many alike
    of any other code where the run has had nobody accepted at all, and still more where the code says nothing.

    Args:
        server: the server's name, for errors.
        notes: what the other senders of the run know.
    """

    def __init__(self, server: str, notes: RunNotes) -> None:
        self._server = server
        self._notes = notes
        self._accepted = False
        self._sent_before = False
        # Since somebody was accepted, over all batches: by code.
        self._alike: Counter[str] = Counter()
        self._on_trial: list[Refused] = []

    def begin_batch(self) -> None:
        """Forget what is on trial; who has no outcome of its batch has been reported as failed."""
        self._on_trial = []

    def sent_before(self) -> None:
        """Note that an earlier run had somebody accepted: the server knows the sender."""
        self._sent_before = True

    def accepted(self) -> list[Refused]:
        """Note that the server has accepted somebody, and return who is refused for good by that."""
        if not self._accepted:
            self._accepted = True
            self._notes.tell("accepted")
        self._alike.clear()
        refused, self._on_trial = self._on_trial, []
        return refused

    def add(self, letter: Letter, reply: Reply) -> None:
        """Put a refusal by the server on trial.

        Raises:
            CampaignError: it is the sender's, as those on trial are.
        """
        self._on_trial.append((letter, reply))
        self._alike[reply.reason] += 1
        alike, party = self._alike[reply.reason], party_of(reply.reason)
        if party == "sender":
            raise CampaignError(
                f"{self._server} refuses the sender: {reply.detail}. {_NOBODY_REFUSED} {_CHECK_SENDER}"
            )
        if alike < MANY or (party == "recipient" and self._sent_before):
            return
        if party == "either" or (party == "unsaid" and alike >= MANY_UNSAID) or not self._anybody_accepted():
            dead = "" if party == "either" else " If these addresses are dead, take them off the list."
            raise CampaignError(
                f"{self._server} refused {alike} recipients with {reply.reason} and accepted nobody in between, "
                f"which is taken to be about the sender: {reply.detail}. {_NOBODY_REFUSED} {_CHECK_SENDER}{dead}"
            )

    def end_batch(self) -> Iterable[Refused]:
        """Return what becomes of those who are still on trial: refused, or deferred where that is not proven.

        Raises:
            UnprovenRefusalError: the server has accepted nobody, and its answer can be about the sender.
        """
        trial, self._on_trial = self._on_trial, []
        return [(letter, self._at_last(reply)) for letter, reply in trial]

    def _at_last(self, reply: Reply) -> Reply:
        party = party_of(reply.reason)
        if party == "recipient":
            return reply
        if self._anybody_accepted():
            proven = self._alike[reply.reason] == 1
        elif party == "unsaid":
            proven = False
        else:
            raise UnprovenRefusalError(
                f"{self._server} has accepted nobody yet, and this can be about the sender: {reply.detail}. "
                f"{_NOBODY_REFUSED} {_CHECK_SENDER}"
            )
        unproven = replace(reply, verdict="deferred", detail=f"{reply.detail}; this may be about the sender")
        return reply if proven else unproven

    def _anybody_accepted(self) -> bool:
        return self._accepted or self._notes.told("accepted") is not None
