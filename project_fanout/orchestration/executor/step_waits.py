"""Which steps wait for what."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from collections.abc import Set as AbstractSet


class StepWaits:
    """Finds the steps that wait for a step, or for an output, through that one: its end walks no others."""

    def __init__(self) -> None:
        self._unmet: dict[str, set[Hashable]] = {}
        self._waiting: dict[Hashable, list[str]] = defaultdict(list)
        self._freed: list[str] = []

    def add(self, step_key: str, unmet: AbstractSet[Hashable]) -> None:
        """Let *step_key* wait for the end of all in *unmet*; with none it is free at once."""
        if not unmet:
            self._freed.append(step_key)
            return
        self._unmet[step_key] = set(unmet)
        for other in unmet:
            self._waiting[other].append(step_key)

    def waiting_for(self, other: Hashable) -> Sequence[str]:
        """Return the steps that wait for *other*."""
        return [step_key for step_key in self._waiting.get(other, ()) if step_key in self._unmet]

    def end(self, other: Hashable) -> None:
        """Note that *other* has ended, however it did."""
        for waiting in self._waiting.pop(other, ()):
            unmet = self._unmet.get(waiting)
            if unmet is None:
                continue
            unmet.discard(other)
            if not unmet:
                self.free(waiting)

    def free(self, step_key: str) -> None:
        """Let *step_key* wait no more."""
        del self._unmet[step_key]
        self._freed.append(step_key)

    def forget(self, step_key: str) -> None:
        """Let *step_key* wait no more, without freeing it."""
        self._unmet.pop(step_key, None)

    def pop_freed(self) -> list[str]:
        """Return, once, the steps that have nothing left to wait for, in the order in which they became so."""
        freed, self._freed = self._freed, []
        return freed
