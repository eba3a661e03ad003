"""Which steps wait for which others to end."""

from collections import defaultdict


class StepWaits:
    """Finds the steps that wait for a step through that one, so that its end walks no others."""

    def __init__(self) -> None:
        self._unmet: dict[str, set[str]] = {}
        self._waiting: dict[str, list[str]] = defaultdict(list)
        self._freed: list[str] = []

    def add(self, step_key: str, unmet: set[str]) -> None:
        """Let *step_key* wait for the end of all steps in *unmet*; with none it is free at once."""
        if not unmet:
            self._freed.append(step_key)
            return
        self._unmet[step_key] = unmet
        for other in unmet:
            self._waiting[other].append(step_key)

    def end(self, step_key: str) -> None:
        """Note that *step_key* has ended, however it did."""
        for waiting in self._waiting.pop(step_key, ()):
            unmet = self._unmet.get(waiting)
            if unmet is None:
                continue
            unmet.discard(step_key)
            if not unmet:
                del self._unmet[waiting]
                self._freed.append(waiting)

    def forget(self, step_key: str) -> None:
        """Let *step_key* wait no more, without freeing it."""
        self._unmet.pop(step_key, None)

    def pop_freed(self) -> list[str]:
        """Return, once, the steps that have nothing left to wait for, in the order in which they became so."""
        freed, self._freed = self._freed, []
        return freed
