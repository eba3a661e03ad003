"""The slots of the instance's concurrency pools that a run holds or waits for."""

from dagster import DagsterInstance, DagsterRun

from project_fanout.orchestration.internals import InstanceConcurrencyContext


class PoolSlots(InstanceConcurrencyContext):
    """Claims slots as Dagster does; one that this run gives back goes at once to the step of it that waits longest.

    Dagster looks again after 1 s, and later after up to 15 s, which is nothing beside the start of a process: of steps
    of 20 ms in a pool with one slot it made one a second.
    """

    def __init__(self, instance: DagsterInstance, dagster_run: DagsterRun) -> None:
        super().__init__(instance, dagster_run)
        # Pools by steps: of those that wait, in the order in which they came, and of those that have a slot.
        self._waiting: dict[str, str] = {}
        self._held: dict[str, str] = {}

    def claim(self, concurrency_key: str, step_key: str, step_priority: int = 0) -> bool:
        """Claim a slot for a step; return whether it has one now."""
        if not super().claim(concurrency_key, step_key, step_priority):
            self._waiting.setdefault(step_key, concurrency_key)
            return False
        self._waiting.pop(step_key, None)
        self._held[step_key] = concurrency_key
        return True

    def free_step(self, step_key: str) -> None:
        """Give the slot of a step back."""
        super().free_step(step_key)
        pool = self._held.pop(step_key, None)
        longest = next((each for each, wanted in self._waiting.items() if wanted == pool), None)
        if longest is not None:
            self._pending_timeouts.pop(longest, None)
