"""Ranges of rows of a list of recipients: a page, or a batch of one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from project_fanout.campaigns.errors import CampaignError


@dataclass(frozen=True, slots=True)
class RowRange:
    """Rows *first* to *last* of a list, both included; the first row of a list is 1."""

    first: int
    last: int

    @property
    def key(self) -> str:
        """The range as a unit's key, e.g. "1001-1100"."""
        return f"{self.first}-{self.last}"

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))

    def split(self, size: int) -> "Iterator[RowRange]":
        """Yield ranges of *size* rows, the last one with what is left."""
        for first in range(self.first, self.last + 1, size):
            yield RowRange(first, min(first + size - 1, self.last))

    @classmethod
    def of_key(cls, key: str) -> "RowRange":
        """Return the range that has this key.

        Raises:
            CampaignError: *key* is no range.
        """
        match = re.fullmatch(r"(\d+)-(\d+)", key)
        if match is None:
            raise CampaignError(f"{key!r} is not a range of rows, such as '1-1000'.")
        return cls(int(match[1]), int(match[2]))
