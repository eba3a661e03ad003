"""Sets of step keys that are cheap to unite."""

from dataclasses import dataclass
from typing import Any


class StepKeys(set[str]):
    """A set whose union with another is looked up, not built.

    ActiveExecution unites the sets of ended steps each time it asks whether one step is to be
    skipped: with 5,000 steps that is 25 million copies.
    """

    def __or__(self, other: Any) -> Any:
        return _Either(self, other)


@dataclass(frozen=True, slots=True)
class _Either:
    one: Any
    other: Any

    def __contains__(self, key: object) -> bool:
        return key in self.one or key in self.other
