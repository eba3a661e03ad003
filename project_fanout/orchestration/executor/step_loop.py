"""The event loop of a run, in a thread of its own: its async resources and its async ops share it."""

import asyncio
import threading
from collections.abc import Awaitable
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any, TypeVar

from project_fanout.orchestration.executor.step_threads import raise_in
from project_fanout.orchestration.internals import DagsterExecutionInterruptedError

T = TypeVar("T")

#: How long the ops that await get to tidy up when the run ends early.
_TIDY_S = 1.0
#: How long the loop gets to react before it counts as blocked by an op that does not await.
_ANSWER_S = 0.5


class StepLoop:
    """Runs *loop* in one thread, on behalf of any number of threads that wait for what they hand it.

    Dagster awaits whatever is async with `run_until_complete` of the run's loop, which runs the loop
    in the calling thread, and so for one caller at a time. The loop gets a `run_until_complete` and a
    `close` of its own here: the caller's awaitable is awaited in the loop's thread, with the caller's
    context variables, and the caller gets the result or the exception. What two steps await overlaps.

    Args:
        loop: an event loop that does not run; it stays the loop's own business what class it is of.
        run_id: the run, for the name of the thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, run_id: str) -> None:
        self._loop = loop
        self._stock_run, self._stock_close = loop.run_until_complete, loop.close
        loop.run_until_complete = self.run_until_complete  # type: ignore[method-assign, assignment]
        loop.close = self.close  # type: ignore[method-assign]
        #: What is awaited at the moment, and who waits for it. Changed in the loop's thread alone.
        self._tasks: dict[Future[Any], asyncio.Task[None]] = {}
        #: The thread that has called `interrupt`, the only one that the loop works for from then on.
        self._interrupter: threading.Thread | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name=f"event loop {run_id}", daemon=True)
        self._thread.start()

    def run_until_complete(self, awaitable: Awaitable[T]) -> T:
        """Return what *awaitable* gives, or raise what it raises, once it has been awaited in the loop's thread.

        Raises:
            DagsterExecutionInterruptedError: the run has ended early.
            RuntimeError: called in the loop's own thread, or to tear down a resource after an
                interrupt while an op blocks the loop.
        """
        caller = threading.current_thread()
        if self._refuses(caller):
            _discard(awaitable)
            raise _interrupted()
        if caller is self._thread or self._loop.is_closed():
            return self._stock_run(awaitable)  # which says that this cannot be
        if caller is self._interrupter and not self._answers():
            _discard(awaitable)
            raise RuntimeError(
                "The run's event loop is blocked by an async op that waits without `await`. "
                "In async ops use async libraries, or `await asyncio.to_thread(...)`."
            )
        done: Future[T] = Future()
        self._loop.call_soon_threadsafe(self._begin, awaitable, done, caller)
        try:
            return done.result()
        except asyncio.CancelledError:
            if self._refuses(caller):
                raise _interrupted() from None
            raise
        except BaseException:
            if not done.done():  # a signal handler has raised this in the thread that waits
                self._loop.call_soon_threadsafe(self._cancel, done)
            raise
        finally:
            del awaitable, done  # an exception's traceback holds this frame: no cycle through it

    def interrupt(self) -> None:
        """Cancel what steps await; from now on the loop works for the calling thread alone.

        Returns when the steps' awaitables have ended, after `_TIDY_S` at the latest. An op that blocks
        the loop all the while gets the interrupt raised in it.
        """
        self._interrupter = threading.current_thread()
        cancelled = threading.Event()

        def cancel() -> None:
            for task in self._tasks.values():
                task.cancel()
            cancelled.set()

        self._loop.call_soon_threadsafe(cancel)
        wait(list(self._tasks), timeout=_TIDY_S)
        if not cancelled.wait(_ANSWER_S):
            raise_in(self._thread, DagsterExecutionInterruptedError)

    def close(self) -> None:
        """End the thread and close the loop; whoever still waits for a result is told so.

        A loop that is blocked is left alone: its thread closes it when it can.
        """
        if threading.current_thread() is self._thread:
            self._stock_close()  # which says that this cannot be
        if not self._closing:
            self._closing = True
            with suppress(RuntimeError):  # closed already, as its thread has died
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_ANSWER_S)

    def _serve(self) -> None:
        while not self._closing:
            # A KeyboardInterrupt or SystemExit in a task that no step waits for stops asyncio's loop,
            # and so can the interrupt: the loop goes on for the others.
            with suppress(BaseException):
                self._loop.run_forever()
        self._stock_close()
        for done in [done for done in self._tasks if not done.done()]:
            done.set_exception(_interrupted())

    def _begin(self, awaitable: Awaitable[T], done: Future[T], caller: threading.Thread) -> None:
        if self._refuses(caller):
            _discard(awaitable)
            done.set_exception(_interrupted())
            return
        task = self._loop.create_task(_await(awaitable, done))
        self._tasks[done] = task
        task.add_done_callback(lambda _: self._tasks.pop(done))

    def _cancel(self, done: Future[Any]) -> None:
        if (task := self._tasks.get(done)) is not None:
            task.cancel()

    def _refuses(self, caller: threading.Thread) -> bool:
        return self._interrupter not in (None, caller)

    def _answers(self) -> bool:
        turned = threading.Event()
        self._loop.call_soon_threadsafe(turned.set)
        return turned.wait(_ANSWER_S)


async def _await(awaitable: Awaitable[T], done: Future[T]) -> None:
    try:
        result = await awaitable
    except BaseException as error:  # whatever it is belongs to whoever waits for it, not to the loop
        done.set_exception(error)
    else:
        done.set_result(result)
    finally:
        del awaitable, done


def _discard(awaitable: Awaitable[Any]) -> None:
    """Close a coroutine that will not be awaited, which Python would warn of."""
    if (close := getattr(awaitable, "close", None)) is not None:
        close()


def _interrupted() -> DagsterExecutionInterruptedError:
    return DagsterExecutionInterruptedError("The run ended while this step was awaiting.")
