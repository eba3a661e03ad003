"""What runs on a Ray cluster: one unit, and the actor that knows when a unit has started."""

import asyncio
import logging
from collections import defaultdict
from typing import Any

from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitReply
from project_fanout.engine.pools.execute import execute
from project_fanout.engine.pools.logs import relayed_logs

# They travel with the reply, so a unit that logs without end must not fill the worker's memory with them.
_MOST_LOGS = 10_000


def run_unit(
    call: UnitCall,
    number: int,
    starts: Any,  # an actor's handle has no type
    log_level: int | None,
    max_result_bytes: int,
) -> tuple[UnitReply, list[UnitLog]]:
    """Run *call* in this worker and return its reply with what it logged.

    Args:
        call: the attempt to run.
        number: its number at *starts*.
        starts: handle of the pool's `Starts`, None for a call without a deadline.
        log_level: log records of this level and up are returned, None for none at all.
        max_result_bytes: longest result, as JSON text, that is not refused.
    """
    logs = _Logs(call)
    if starts is not None:
        starts.note_pickup.remote(number)
    reply = execute(
        call,
        max_result_bytes=max_result_bytes,
        on_loaded=(lambda: starts.note_loaded.remote(number)) if starts is not None else lambda: None,
        around=relayed_logs(call, log_level, logs.add) if log_level is not None else None,
    )
    return reply, logs.taken()


class Starts:
    """Tells the pool when a unit has started, which Ray does not: a deadline counts from there.

    Args:
        import_grace_s: how long the import of a stage's module is not counted.
    """

    def __init__(self, import_grace_s: float) -> None:
        self._import_grace_s = import_grace_s
        self._picked_up: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self._loaded: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)

    async def note_pickup(self, number: int) -> None:
        """Take note that a worker has call *number*."""
        self._picked_up[number].set()

    async def note_loaded(self, number: int) -> None:
        """Take note that call *number* has its stage and runs it now."""
        self._loaded[number].set()

    async def wait(self, number: int) -> None:
        """Return when the deadline of call *number* begins to count."""
        try:
            await self._picked_up[number].wait()
            try:
                await asyncio.wait_for(self._loaded[number].wait(), self._import_grace_s)
            except asyncio.TimeoutError:  # another class than TimeoutError in Python 3.10
                pass
        finally:
            self._picked_up.pop(number, None)
            self._loaded.pop(number, None)


class _Logs:
    def __init__(self, call: UnitCall) -> None:
        self._call = call
        self._logs: list[UnitLog] = []
        self._left_out = 0

    def add(self, log: UnitLog) -> None:
        if len(self._logs) < _MOST_LOGS:
            self._logs.append(log)
        else:
            self._left_out += 1

    def taken(self) -> list[UnitLog]:
        if self._left_out:
            message = f"{self._left_out:,} more log records of this unit were left out"
            call = self._call
            self._logs.append(UnitLog(call.record_key, call.unit_key, __name__, logging.WARNING, message))
        return self._logs
