"""The process that a `ProcessPool` runs units in: `main` is all that it imports before its first call."""

import faulthandler
import json
import logging
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn

from project_fanout.engine.pools.attempt.attempt import Attempt
from project_fanout.engine.pools.attempt.deadline import timed_out
from project_fanout.engine.pools.attempt.failure import WorkerEndsError
from project_fanout.engine.pools.attempt.prints import label_standard_streams
from project_fanout.engine.pools.attempt.runtime import Runtime
from project_fanout.engine.pools.attempt.set_ups import SetUps
from project_fanout.engine.pools.calls import UnitLog, UnitReply
from project_fanout.engine.pools.process.environment import WORKER
from project_fanout.engine.pools.process.start_marks import StartMarks
from project_fanout.engine.pools.process.wire import Channel, HandOver
from project_fanout.engine.pools.replies import reply_to_bytes

# How often coroutines are watched, and how long one has to end after it has been cancelled, or to let others run.
_WATCH_EVERY_S = 0.5
_LONGEST_LAST_WORDS_S = 2.0

_logger = logging.getLogger(__name__)


def main(socket_fd: int, marks_fd: int, settings_json: str) -> None:
    """Serve calls from the socket until the pool closes it."""
    settings: dict[str, Any] = json.loads(settings_json)
    if sys.stderr is not None:  # closed, as `2>&-` does
        faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for fd in (socket_fd, marks_fd):
        os.set_inheritable(fd, False)  # noqa: FBT003  # takes no keyword
    logging.getLogger().setLevel(settings["log_level"])
    if settings["memory_limit_mb"] is not None:
        _limit_memory(settings["memory_limit_mb"])
    os.nice(settings["niceness"])
    label_standard_streams()
    worker = _Worker(Channel(socket.socket(fileno=socket_fd)), StartMarks(marks_fd), settings)
    # A shell script's `dagster dev &` ignores SIGINT, Dagster then SIGTERM too, and so would its children.
    signal.signal(signal.SIGTERM, worker.end)
    try:
        worker.serve()
    except (EOFError, WorkerEndsError):
        worker.close()
    # It is over: whatever threads and exit handlers the units have left must not keep the process.
    os._exit(0)


class _Worker:
    def __init__(self, channel: Channel, marks: StartMarks, settings: dict[str, Any]) -> None:
        self._channel = channel
        self._marks = marks
        self._settings = settings
        self._at_once = settings["units_per_worker"] or 1
        self._runtime = Runtime(
            SetUps(on_open=self._note_set_ups),
            max_result_bytes=settings["max_result_bytes"],
            log_level=settings["log_level"],
            memory_limit_mb=settings["memory_limit_mb"],
            worker=os.environ[WORKER],
        )
        self._threads: Any = None
        self._coroutines: dict[int, Attempt] = {}
        self._runs_coroutines = False
        self._sending = threading.Lock()
        self._alone = True
        self._nice = False
        # A process that a unit forks must neither speak for this worker nor keep its socket open: the
        # pool takes the end of the socket for the end of the worker.
        os.register_at_fork(after_in_child=self._leave)

    def serve(self) -> NoReturn:
        """Run what comes until, as EOFError, the pool is gone."""
        self._marks.come_up()
        while not self._runs_coroutines:
            for each in self._receive(None):
                self._dispatch(each, self._run)
        # From now on this thread only runs units, so that coroutines can begin, and be watched, meanwhile.
        units: SimpleQueue[HandOver | None] = SimpleQueue()
        threading.Thread(target=self._listen, args=(units,), name="project_fanout calls", daemon=True).start()
        while (unit := units.get()) is not None:
            self._run(unit)
        raise EOFError

    def _listen(self, units: "SimpleQueue[HandOver | None]") -> None:
        try:
            while True:
                for each in self._receive(_WATCH_EVERY_S):
                    self._dispatch(each, units.put)
                self._watch()
        except EOFError:
            units.put(None)

    def _receive(self, timeout_s: float | None) -> list[HandOver]:
        body = self._channel.receive(timeout_s)
        self._nice = self._nice or _session_is_nice(self._settings["niceness"])
        received: list[HandOver] = [] if body is None else pickle.loads(body)
        return received

    def _dispatch(self, each: HandOver, run: Callable[[HandOver], None]) -> None:
        if each.calls[0].is_async:
            self._begin(each)
        elif self._at_once > 1:
            self._pool().submit(self._run, each)
        else:
            run(each)

    def end(self, number: int, _frame: object) -> None:
        """End with what has been set up closed; at once, where there is nothing to close. Handles SIGTERM."""
        signal.signal(number, signal.SIG_DFL)
        if self._marks.set_ups and self._alone:
            # Where it is raised in a finalizer Python ignores it: then nothing more comes.
            self._channel.end_input()
            raise WorkerEndsError
        os.kill(os.getpid(), number)

    def close(self) -> None:
        """Close what has been set up here."""
        with suppress(WorkerEndsError):  # of a signal that is on its way
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with suppress(Exception):
            self._runtime.close(_logger.error)

    def _run(self, each: HandOver) -> None:
        """Run a synchronous stage, in this thread."""
        if (attempt := self._started(each)) is not None:
            self._answer(each, self._runtime.run(attempt))

    def _begin(self, each: HandOver) -> None:
        """Let a coroutine run beside others."""
        self._runs_coroutines = True
        if (attempt := self._started(each)) is not None:
            self._coroutines[each.numbers[0]] = attempt
            self._runtime.start(attempt).add_done_callback(partial(self._end, each))

    def _end(self, each: HandOver, done: "Future[list[UnitReply]]") -> None:
        self._coroutines.pop(each.numbers[0], None)
        if not done.cancelled():
            self._answer(each, done.result())

    def _started(self, each: HandOver) -> Attempt | None:
        """Claim calls and return the attempt of them, None if they have been taken back."""
        mine = [self._marks.start(number, self._settings["setup_timeout_s"]) for number in each.numbers]
        if not all(mine):
            # Answered in any case: the pool may have given up taking them back in this very moment.
            for number in each.numbers:
                self._send((number, None))
            return None
        return Attempt(
            each.calls,
            on_loaded=partial(self._note_loaded, each.numbers),
            on_log=partial(self._relay, each.numbers[0]) if each.wants_logs else None,
            start=each.start,
            is_alone=self._at_once == 1 and not each.calls[0].is_async and not self._coroutines,
        )

    def _note_loaded(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._marks.count_from_now(number)

    def _relay(self, number: int, log: UnitLog) -> None:
        self._send((number, log))

    def _answer(self, each: HandOver, replies: list[UnitReply]) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        # None for each call that has not begun.
        answers: Sequence[UnitReply | None] = replies or [None] * len(each.numbers)
        for number, reply in zip(each.numbers, answers, strict=True):
            self._send((number, reply))
        if any(reply.worker_ends for reply in replies):
            os._exit(0)

    def _watch(self) -> None:
        """End this worker if a coroutine ignores that it is cancelled, or holds the others up beyond its own time."""
        latest = time.monotonic() - _LONGEST_LAST_WORDS_S
        loop = self._runtime.loop
        holder = loop.holder() if loop.held_up_s() > _WATCH_EVERY_S else None
        for number, attempt in tuple(self._coroutines.items()):
            deadline = attempt.deadline
            if deadline is None:
                continue
            if attempt is holder and deadline.due < latest:
                fate = "killed with its worker, whose event loop it has held up"
            elif deadline.passed_at is not None and deadline.passed_at < latest:
                fate = "killed with its worker: it went on after it was cancelled"
            else:
                continue
            if len(attempt.calls) == 1:  # of a batch, nobody knows which one it is
                timeout_s = attempt.timeout_s or 0.0
                reply = timed_out(timeout_s, fate, time.monotonic() - deadline.due + timeout_s)
                self._send((number, replace(reply, worker_ends=True)))
            os._exit(0)

    def _pool(self) -> Any:
        if self._threads is None:
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # for few workers

            self._threads = ThreadPoolExecutor(self._at_once, thread_name_prefix="project_fanout unit")
        return self._threads

    def _note_set_ups(self, count: int) -> None:
        self._marks.set_ups = count

    def _send(self, message: tuple[int, UnitReply | UnitLog | None]) -> None:
        if not self._alone:
            # A forked child that returned from the unit: it is not the worker and must not go on as one.
            if not isinstance(message[1], UnitLog):
                os._exit(0)
            return
        with self._sending:
            self._channel.send(reply_to_bytes(*message))

    def _leave(self) -> None:
        self._alone = False
        self._channel.close()


def _session_is_nice(niceness: int) -> bool:
    """Give this session its niceness; return False if that has to be tried again later."""
    # Where Linux groups processes by session (autogroup), niceness counts within a session alone, and
    # every worker has one of its own. Other than root may set it only once in 0.1 s, all sessions together.
    try:
        Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _limit_memory(megabytes: int) -> None:
    import resource  # noqa: PLC0415  # wanted by few workers

    # RLIMIT_DATA counts private writable memory, as Linux accounts it: not shared libraries and not
    # address space that is only reserved, which make RLIMIT_AS refuse programs that use little.
    limit = megabytes * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
