"""One recipient's outcome, as it travels from a stage to the table."""

from dataclasses import dataclass
from typing import Any, Literal

DeliveryStatus = Literal["sent", "refused", "failed", "unknown", "duplicate"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one recipient.

    Args:
        row: the recipient's row.
        address: the address, as far as there is one.
        status: sent: the server has accepted it, now or in an earlier run. refused: it will not be
            accepted, by us or by the server. failed: not accepted in the time given; a new run tries again.
            unknown: it was begun and nobody knows how it ended. duplicate: an earlier row has the address.
        reason: a few words, the same for all with this problem; None for what was sent now.
        detail: what exactly happened to this one.
        sent_at: when the server accepted it, in seconds since 1970 (UTC); None if not in this run.
    """

    row: int
    address: str | None
    status: DeliveryStatus
    reason: str | None = None
    detail: str | None = None
    sent_at: float | None = None

    def to_json(self) -> list[Any]:
        """Return the fields as a list: 100,000 of these travel, so names are left out."""
        return [self.row, self.address, self.status, self.reason, self.detail, self.sent_at]
