"""What the campaigns workload raises on purpose."""

from project_fanout.engine.errors import FanoutError, FinalError


class CampaignError(FinalError):
    """A campaign's settings, list of recipients, templates or mail server are not usable as they are."""


class UnprovenRefusalError(CampaignError):
    """All of a batch was refused in words that can be about the sender, and nobody else has been accepted yet."""


class UnfitRecipientError(FanoutError):
    """One recipient cannot be written to; the message is the reason, and the others go on.

    Args:
        reason: a few words, the same for all recipients with this problem.
        detail: what exactly is wrong with this one.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason
