"""What runs on a Ray cluster: units, and the actor that knows when a unit has started."""

import asyncio
import atexit
import functools
import logging
import os
import socket
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from project_fanout.engine.pools.attempt.attempt import Attempt
from project_fanout.engine.pools.attempt.runtime import Runtime
from project_fanout.engine.pools.attempt.set_ups import SetUps
from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitReply
from project_fanout.engine.pools.replies import joined, reply_to_bytes
from project_fanout.engine.pools.supplied import SharedValue
from project_fanout.engine.rate import Start

_logger = logging.getLogger(__name__)

# They travel with the reply, so a unit that logs without end must not fill the worker's memory with them.
_MOST_LOGS = 10_000


def run_units(
    calls: Sequence[UnitCall],
    number: int,
    starts: Any,  # an actor's handle has no type
    shared: Mapping[str, Any],
    starts_at: Sequence[Start | None],
    settings: Mapping[str, Any],
) -> bytes:
    """Run *calls* in this worker and return what they logged and their replies, as `replies.joined` has them.

    The calls of a batch stage are run as one batch, others at once.

    Args:
        calls: what to run; their numbers in the answer are 0, 1, 2...
        number: theirs at *starts*.
        starts: handle of the pool's `Starts`, None for calls without a deadline.
        shared: references to the values that reach each worker once, by their keys.
        starts_at: when each is to start, None for at once.
        settings: `wants_logs`, and what the `Runtime` of this process is made with.
    """
    _shared.update(shared)
    runtime = _runtime(settings["log_level"], settings["max_result_bytes"])
    if starts is not None:
        starts.note_pickup.remote(number)
    is_batch = calls[0].batch_size is not None
    logs = [_Logs(call) for call in (calls[:1] if is_batch else calls)]
    attempts = [
        Attempt(
            calls if is_batch else [call],
            on_loaded=(lambda: starts.note_loaded.remote(number)) if starts is not None else lambda: None,
            on_log=log.add if settings["wants_logs"] else None,
            start=start,
            is_alone=len(logs) == 1,
        )
        for call, log, start in zip(calls, logs, starts_at, strict=False)
    ]
    if calls[0].is_async:
        replies = [each.result() for each in [runtime.start(attempt) for attempt in attempts]]
    elif len(attempts) == 1:
        replies = [runtime.run(attempts[0])]
    else:
        with ThreadPoolExecutor(len(attempts)) as threads:
            replies = list(threads.map(runtime.run, attempts))
    messages = [reply_to_bytes(place, log) for place, each in enumerate(logs) for log in each.taken()]
    ended: list[UnitReply | None] = []
    for attempt, each in zip(attempts, replies, strict=True):
        # None for each call that has not begun.
        ended += each or [None] * len(attempt.calls)
    return joined([*messages, *(reply_to_bytes(place, reply) for place, reply in enumerate(ended))])


_shared: dict[str, Any] = {}


@functools.cache
def _runtime(log_level: int, max_result_bytes: int) -> Runtime:
    """Return what this process keeps from one task to the next; Ray gives it further ones of the same job."""
    worker = f"{socket.gethostname()} {os.getpid()}"
    runtime = Runtime(SetUps(_load), log_level=log_level, max_result_bytes=max_result_bytes, worker=worker)
    atexit.register(runtime.close, _logger.warning)
    return runtime


def _load(value: SharedValue) -> Any:
    if value.key not in _shared:
        return value.load()
    import ray  # noqa: PLC0415  # this process is one of Ray's

    # A view of the node's object store: no copy for this worker.
    return value.of_bytes(memoryview(ray.get(_shared[value.key])))


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
