"""What the steps of a run print goes to the compute logs of that run, also with two runs in a process."""

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO, cast

from project_fanout.orchestration.executor.step_threads import current_step
from project_fanout.orchestration.internals import CapturedLogContext, ComputeIOType, ComputeLogManager

#: Held by the run whose compute log the file descriptors 1 and 2 point to.
_descriptors = threading.Lock()
_lock = threading.Lock()
#: Standard output and error of the other runs.
_routes: dict[str, tuple[TextIO, TextIO]] = {}


@contextmanager
def captured_output(
    compute_logs: ComputeLogManager[Any], log_key: Sequence[str], run_id: str
) -> Iterator[CapturedLogContext]:
    """Send what the process, or with several runs in it the steps of *run_id*, prints to *log_key*.

    Dagster redirects the process's file descriptors, which also catches what child processes print.
    That works for one run at a time: of two overlapping runs, each would get the other's output, and
    the descriptors would stay redirected at the end. So a run that finds them taken has what its step
    threads write to `sys.stdout` and `sys.stderr` written to its own log. What its child processes
    print goes to the run that came first.
    """
    if _descriptors.acquire(blocking=False):
        try:
            with compute_logs.capture_logs(log_key) as log_context:
                yield log_context
        finally:
            _descriptors.release()
        return
    with ExitStack() as stack:
        out, err = (
            stack.enter_context(compute_logs.open_log_stream(log_key, kind))
            for kind in (ComputeIOType.STDOUT, ComputeIOType.STDERR)
        )
        if out is not None and err is not None:
            stack.enter_context(_routed(run_id, cast(TextIO, out), cast(TextIO, err)))
        yield CapturedLogContext(list(log_key))


@contextmanager
def _routed(run_id: str, out: TextIO, err: TextIO) -> Iterator[None]:
    with _lock:
        if not _routes:
            sys.stdout = cast(TextIO, _Router(sys.stdout, 0))
            sys.stderr = cast(TextIO, _Router(sys.stderr, 1))
        _routes[run_id] = (out, err)
    try:
        yield
    finally:
        with _lock:
            del _routes[run_id]
            if not _routes:
                # Whoever has put something else there meanwhile keeps it.
                if isinstance(sys.stdout, _Router):
                    sys.stdout = sys.stdout.stock
                if isinstance(sys.stderr, _Router):
                    sys.stderr = sys.stderr.stock


class _Router:
    """A standard stream that writes to the log of the run whose step is writing."""

    def __init__(self, stock: TextIO, index: int) -> None:
        self.stock = stock
        self._index = index

    def _target(self) -> TextIO:
        step = current_step()
        route = None if step is None else _routes.get(step[0])
        return self.stock if route is None else route[self._index]

    def write(self, text: str) -> int:
        return self._target().write(text)

    def writelines(self, lines: Any) -> None:
        self._target().writelines(lines)

    def flush(self) -> None:
        self._target().flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stock, name)
