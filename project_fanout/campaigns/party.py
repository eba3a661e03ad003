"""Whom a server's refusal (5xx) is about, as far as its codes tell."""

import re
from typing import Literal

#: sender: the sender's address, machine, login or quota. recipient: the mailbox or its domain. either: servers say
#: it of both. unsaid: the codes do not tell.
Party = Literal["sender", "recipient", "either", "unsaid"]

_REASON = re.compile(r"(\d{3})(?: 5\.((\d{1,3})\.\d{1,3}))?")
# RFC 4954: account disabled, login required, login too weak, login invalid, encryption required.
_ABOUT_LOGIN = {"525", "530", "534", "535", "538"}
# From here on without the class: RFC 3463 and the registry of enhanced codes at IANA.
_OF_CODE: dict[str, Party] = {
    "1.0": "unsaid",
    "1.7": "sender",  # its address is no address
    "1.8": "sender",  # its domain does not exist
    "1.90": "sender",  # Exchange: its daily limit is reached
    "2.0": "unsaid",
    "2.252": "sender",  # Exchange: it may not send as this sender
    "4.5": "sender",  # congestion, which is what quotas are reported as
    "6.7": "recipient",  # a non-ASCII address is not permitted
    "7.2": "recipient",  # this mailing list is closed to the sender
    "7.8": "sender",  # login invalid
    "7.9": "sender",  # login too weak
    "7.10": "sender",  # encryption needed
    "7.11": "sender",  # encryption needed for this login
    "7.14": "sender",  # trust relationship needed
    "7.17": "recipient",  # the mailbox has another owner now
    "7.18": "recipient",  # the domain has another owner now
    "7.19": "recipient",  # whether it has cannot be found out
    # DKIM, SPF, reverse DNS, DMARC, a sender that takes no mail itself, mail flood, ARC.
    **{f"7.{detail}": "sender" for detail in range(20, 30)},
    # Exchange: relaying, login and rights of the sender; blocked addresses; limits of the account or the organisation.
    **{f"7.{detail}": "sender" for detail in (54, 57, 60, 64, 139, *range(606, 650), *range(700, 751))},
}
_OF_SUBJECT: dict[str, Party] = {
    "1": "recipient",  # addresses
    "2": "recipient",  # mailboxes
    "3": "either",  # the mail system
    "5": "either",  # the protocol
    "6": "either",  # the content
    "7": "either",  # security and policy
}


def party_of(reason: str) -> Party:
    """Return whom a refusal is about.

    Args:
        reason: the server's code, and its enhanced code if it gave one, e.g. "550 5.1.1".
    """
    match = _REASON.fullmatch(reason)
    if match is None:
        return "unsaid"
    code, enhanced, subject = match.groups()
    if code in _ABOUT_LOGIN:
        return "sender"
    return _OF_CODE.get(enhanced) or _OF_SUBJECT.get(subject, "unsaid")
