"""For tests of your own fan-outs: units run in the test's own process, and fail, or end the run, where you say."""

import threading
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from project_fanout.engine.model import UnitError
from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitPool, UnitReply
from project_fanout.engine.pools.inline import InlinePool
from project_fanout.engine.rate import Rate
from project_fanout.orchestration import LedgerResource, UnitPoolResource

#: Record key and unit key.
UnitName = tuple[str, str]


class RunKilledError(BaseException):
    """The end of a run at the unit of `kill_at`: no `except Exception` holds it up, as none holds up SIGKILL."""


def inline_resources(
    folder: Path | str | None = None,
    *,
    fail_at: Mapping[UnitName, int] | Sequence[UnitName] = (),
    kill_at: UnitName | None = None,
) -> dict[str, Any]:
    """Return `unit_pool` and `ledger` for `dagster.materialize` and its like.

    Units run in the thread of their step: monkeypatch, breakpoints and coverage reach them.

    Args:
        folder: where the ledger is, e.g. `tmp_path`: a later run of the test finds it there, as a re-execution does or
            one with `reuse: always`. None for no ledger.
        fail_at: units that fail without being run, by record key and unit key: how many attempts of each, or, of a
            plain list, every one.
        kill_at: a unit at which the run ends with `RunKilledError`; what has ended before is in the ledger.

    Example:
        ```python
        result = dg.materialize_to_memory(
            [word_counts], resources=inline_resources(fail_at=[("letter", "2")]), raise_on_error=False
        )
        ```
    """
    faults = dict(fail_at) if isinstance(fail_at, Mapping) else dict.fromkeys(fail_at, -1)
    pool = FaultyPoolResource(
        kind="inline",
        faults=[[*unit, str(attempts)] for unit, attempts in faults.items()],
        deadly=list(kill_at or ()),
    )
    if folder is None:
        return {"unit_pool": pool, "ledger": LedgerResource(enabled=False)}
    return {"unit_pool": pool, "ledger": LedgerResource(url=str(Path(folder) / "fanout_ledger.db"))}


class FaultyPoolResource(UnitPoolResource):
    """An inline pool with units that fail, or end the run; made by `inline_resources`."""

    faults: Annotated[
        list[list[str]], "Record key and unit key of those that fail, and how many attempts; -1 for all."
    ] = Field(default_factory=list)
    deadly: Annotated[list[str], "Record key and unit key of the one that ends the run."] = Field(
        default_factory=list
    )

    def _make(self) -> UnitPool:
        super()._make().close()  # refuses settings that an inline pool has no use for
        faults = {(record, unit): int(attempts) for record, unit, attempts in self.faults}
        return _FaultyPool(faults, self.deadly, log_level=self._level)


class _FaultyPool(InlinePool):
    def __init__(self, faults: Mapping[UnitName, int], deadly: Sequence[str], *, log_level: int) -> None:
        super().__init__(log_level=log_level)
        self._faults = faults
        self._deadly: UnitName | None = (deadly[0], deadly[1]) if deadly else None
        self._failed: Counter[UnitName] = Counter()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Warn of units that have not been there: what a test says of them has had no effect."""
        super().close()
        named = [*self._faults, *([self._deadly] if self._deadly else [])]
        if missing := [unit for unit in named if unit not in self._failed]:
            said = ", ".join(f"unit {key!r} of record {record!r}" for record, key in missing)
            warnings.warn(f"fail_at or kill_at names what has not run: {said}.", stacklevel=2)

    def submit(
        self,
        call: UnitCall,
        on_log: Callable[[UnitLog], None] | None = None,
        rate: Rate | None = None,
        on_begin: Callable[[], None] | None = None,
    ) -> "Future[UnitReply]":
        """Run *call*, or let it fail, or end the run; see `UnitPool.submit`.

        Raises:
            RunKilledError: it is the unit that ends the run.
        """
        unit = (call.record_key, call.unit_key)
        if unit == self._deadly:
            self._failed[unit] += 1
            raise RunKilledError(f"unit {call.unit_key!r} of record {call.record_key!r} is that of kill_at")
        with self._lock:
            self._failed[unit] += 1
            fails = self._faults.get(unit, 0)
            fails_now = fails < 0 or self._failed[unit] <= fails
        if not fails_now:
            return super().submit(call, on_log, rate, on_begin)
        future: Future[UnitReply] = Future()
        error = UnitError("InjectedError", "the test let it fail (fail_at)")
        future.set_result(UnitReply("failed", 0.0, error=error))
        return future
