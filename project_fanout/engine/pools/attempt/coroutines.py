"""`LoopThread`: the event loop of a process's coroutine stages, in a thread of its own."""

import asyncio
import contextvars
import threading
import time
import weakref
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from project_fanout.engine.pools.attempt.attempt import Attempt

_LONGEST_CLOSE_S = 5.0

#: A context variable, so that what a unit starts (gather, TaskGroup) is known to be the unit's.
_attempt: contextvars.ContextVar[Attempt | None] = contextvars.ContextVar("attempt", default=None)


class LoopThread:
    """Runs the coroutines of many units at once; started when made, ends with `close`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_task_factory(self._new_task)
        self._owners: weakref.WeakKeyDictionary[Any, Attempt] = weakref.WeakKeyDictionary()
        self._asked_at: float | None = None
        self._thread = threading.Thread(target=self._serve, name="project_fanout coroutines", daemon=True)
        self._thread.start()

    def start(self, coroutine: Coroutine[Any, Any, Any], attempt: Attempt | None = None) -> "Future[Any]":
        """Begin *coroutine*, which is that of *attempt*, and return the future of its result; from any thread."""
        return asyncio.run_coroutine_threadsafe(self._owned(coroutine, attempt), self._loop)

    def run(self, awaitable: Any) -> Any:
        """Wait for what *awaitable* comes to, and return it."""
        return self.start(awaitable).result()

    def held_up_s(self) -> float:
        """Ask the loop for a sign of life; return for how long it has owed the one asked for before."""
        if self._asked_at is not None:
            return time.monotonic() - self._asked_at
        self._asked_at = time.monotonic()
        self._loop.call_soon_threadsafe(self._answer)
        return 0.0

    def holder(self) -> Attempt | None:
        """Return whose coroutine has the loop at this moment, None if it is nobody's."""
        task = asyncio.current_task(self._loop)
        return None if task is None else self._owners.get(task)

    def close(self) -> None:
        """Cancel what runs, wait for it, though not for ever, and end the thread."""
        with suppress(Exception):
            self.start(self._cancel_all()).result(_LONGEST_CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_LONGEST_CLOSE_S)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        if not self._loop.is_running():
            self._loop.close()

    def _answer(self) -> None:
        self._asked_at = None

    async def _owned(self, awaitable: Any, attempt: Attempt | None) -> Any:
        task = asyncio.current_task()
        if attempt is not None and task is not None:
            _attempt.set(attempt)
            self._owners[task] = attempt
        return await awaitable

    def _new_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> "asyncio.Task[Any]":
        task = asyncio.Task(coroutine, loop=loop, **options)
        if (attempt := _attempt.get()) is not None:
            self._owners[task] = attempt
        return task

    async def _cancel_all(self) -> None:
        own = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not own]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_LONGEST_CLOSE_S / 2) if tasks else None
        await self._loop.shutdown_asyncgens()
