"""What an address is: exactly one, valid as text; no name server is asked."""

from email_validator import EmailNotValidError, ValidatedEmail, validate_email

from project_fanout.campaigns.errors import UnfitRecipientError

NO_ADDRESS = "no address"
INVALID_ADDRESS = "invalid address"


def checked_address(text: str | None) -> ValidatedEmail:
    """Return *text* as one valid address; no name server is asked.

    Raises:
        UnfitRecipientError: there is none, or it is not exactly one.
    """
    stripped = (text or "").strip(" \t")
    if not stripped:
        raise UnfitRecipientError(NO_ADDRESS)
    try:
        return validate_email(stripped, check_deliverability=False)
    except EmailNotValidError as error:
        raise UnfitRecipientError(INVALID_ADDRESS, f"{stripped!r}: {error}") from None
