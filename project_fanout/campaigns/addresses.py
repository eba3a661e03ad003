"""What an address is: exactly one, valid as text; no name server is asked."""

import re

from email_validator import EmailNotValidError, ValidatedEmail, validate_email

from project_fanout.campaigns.errors import UnfitRecipientError

NO_ADDRESS = "no address"
INVALID_ADDRESS = "invalid address"


# Of a name and an address the validator would blame the name's characters.
_NAMED = re.compile(r"[^<>]*<\s*([^<>\s]+)\s*>[^<>]*")


def _more_than_an_address(text: str) -> str:
    if named := _NAMED.fullmatch(text):
        return f"it is more than an address; accepted: {named[1]} alone, and the name in a column `name`."
    if text.lower().startswith("mailto:"):
        return f"it is a link; accepted: {text[7:]} alone."
    if not text.startswith('"') and text.count("@") > 1:
        return "it is more than one address; accepted: one, and a row for each."
    return ""


def checked_address(text: str | None) -> ValidatedEmail:
    """Return *text* as one valid address; no name server is asked.

    Raises:
        UnfitRecipientError: there is none, or it is not exactly one.
    """
    stripped = (text or "").strip(" \t")
    if not stripped:
        raise UnfitRecipientError(NO_ADDRESS)
    if told := _more_than_an_address(stripped):
        raise UnfitRecipientError(INVALID_ADDRESS, f"{stripped!r}: {told}")
    try:
        return validate_email(stripped, check_deliverability=False)
    except EmailNotValidError as error:
        raise UnfitRecipientError(INVALID_ADDRESS, f"{stripped!r}: {error}") from None
