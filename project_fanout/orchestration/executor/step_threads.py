"""Threads in which the steps of one run execute."""

import contextvars
import ctypes
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Event = TypeVar("Event")


@dataclass(frozen=True, slots=True)
class Ended:
    """A step's thread has ended.

    Args:
        error: what its body raised, None if it returned.
    """

    error: BaseException | None = None


#: A context variable and not the thread: what a step awaits runs in the thread of the event loop.
_step: contextvars.ContextVar[tuple[str, str] | None] = contextvars.ContextVar("step", default=None)


def current_step() -> tuple[str, str] | None:
    """Return run id and step key of the step that the caller works for, None outside of one.

    What a step awaits, and what it starts with `asyncio.to_thread`, works for it too; a thread that it
    starts is not known to.
    """
    return _step.get()


class StepThreads(Generic[Event]):
    """The threads of one run's steps, and the queue on which they report.

    A thread per step, not a pool of idle ones: starting one costs 0.1 ms, a step some 10 ms, and it
    bears the step's name in every stack dump.

    Args:
        run_id: the run.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._reports: queue.SimpleQueue[tuple[str, Event | Ended]] = queue.SimpleQueue()
        self._running: dict[str, threading.Thread] = {}
        # What the thread that drives the run has set, e.g. a partition loading context, holds in its
        # steps too, as if they ran in that thread; each step gets a copy, so none sees another's.
        self._context = contextvars.copy_context()

    def __len__(self) -> int:
        return len(self._running)

    def __bool__(self) -> bool:
        return bool(self._running)

    @property
    def step_keys(self) -> list[str]:
        """The steps whose thread has not reported its end."""
        return list(self._running)

    def start(self, step_key: str, events: Callable[[], Iterable[Event]]) -> None:
        """Run *events* in a thread of its own; each event it yields, and its end, is reported."""

        def body() -> None:
            error: BaseException | None = None
            try:
                for event in events():
                    self._reports.put((step_key, event))
            except BaseException as raised:  # the loop raises it
                error = raised
            finally:
                self._reports.put((step_key, Ended(error)))

        context = self._context.copy()
        context.run(_step.set, (self._run_id, step_key))
        # Daemon: user code that never returns must not keep the run's process alive. The executor waits
        # for every step anyway, and after an interrupt for as long as `wait` says.
        thread = threading.Thread(name=f"step {step_key}", target=context.run, args=(body,), daemon=True)
        self._running[step_key] = thread
        thread.start()

    def reports(self, timeout_s: float) -> Iterator[tuple[str, Event | Ended]]:
        """Yield what has been reported, after waiting up to *timeout_s* for the first report."""
        try:
            report = self._reports.get(timeout=max(timeout_s, 0.0))
            while True:
                if isinstance(report[1], Ended):
                    self._running.pop(report[0], None)
                yield report
                report = self._reports.get_nowait()
        except queue.Empty:
            return

    def wait(
        self, timeout_s: float, interrupt: type[BaseException] | None = None
    ) -> Iterator[tuple[str, Event | Ended]]:
        """Yield reports until every thread has ended, for *timeout_s* at most.

        Args:
            timeout_s: seconds; threads that have not ended by then stay in `step_keys`.
            interrupt: raised in every running thread first. A thread that waits in C code, say in
                `time.sleep`, sees it when that returns.
        """
        if interrupt is not None:
            for thread in self._running.values():
                raise_in(thread, interrupt)
        deadline = time.monotonic() + timeout_s
        while self._running and (left := deadline - time.monotonic()) > 0:
            # The interrupt can hit a thread in the very act of reporting its end.
            dead = [key for key, thread in self._running.items() if not thread.is_alive()]
            yield from self.reports(min(left, 0.1))
            for step_key in dead:
                self._running.pop(step_key, None)


def raise_in(thread: threading.Thread, error: type[BaseException]) -> None:
    """Raise *error* in *thread* at its next Python instruction."""
    if thread.ident is not None and thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(error))
