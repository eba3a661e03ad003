"""What becomes of an attempt whose stage raises: a reply with the error as text, and what may follow it."""

import traceback
from dataclasses import replace
from types import TracebackType

from project_fanout.engine.errors import FanoutError, FinalError, RetryAfter
from project_fanout.engine.model import UnitError
from project_fanout.engine.pools.attempt.attempt import Attempt, Next
from project_fanout.engine.pools.calls import Again, UnitReply

_OURS = (__package__, "importlib", "project_fanout.engine.model")
# An error with a whole document in its message must not fill the run's log.
_MAX_MESSAGE_CHARS = 20_000
#: A unit that asks for it is so often put off without losing an attempt: a server that never lets it in is a failure.
MOST_PUT_OFF = 10


class WorkerEndsError(BaseException):
    """Raised in a worker's main thread when the worker is to end: no unit may take it for its own."""


async def answer(attempt: Attempt, call_next: Next, *, memory_limit_mb: int | None = None) -> list[UnitReply]:
    """Ring: make replies of whatever is raised, the same for all units of a batch.

    They have failed, or crashed if a memory limit is set and it has run into that, also where a library has made
    another error of it: what is left of a process without memory is not to be trusted with another call.

    Args:
        attempt, call_next: as for every ring.
        memory_limit_mb: limit that this process has been given, in MiB, None without one.
    """
    try:
        return await call_next(attempt)
    except WorkerEndsError:
        raise
    except BaseException as error:
        # KeyboardInterrupt and its like, which derive from BaseException alone.
        if attempt.is_interruptible and not isinstance(error, (Exception, SystemExit, GeneratorExit)):
            raise
        reply = _reply_of(error, attempt, memory_limit_mb)
        return [reply for _ in attempt.calls]


def _reply_of(error: BaseException, attempt: Attempt, memory_limit_mb: int | None) -> UnitReply:
    problem = described(error)
    if memory_limit_mb is not None and _is_out_of_memory(error):
        message = with_memory_limit(problem.message, memory_limit_mb)
        return UnitReply("crashed", 0.0, error=replace(problem, message=message), worker_ends=True)
    if isinstance(error, RetryAfter):
        return UnitReply("failed", 0.0, error=problem, again=Again(error.seconds, MOST_PUT_OFF))
    # Dagster's own words for the same. Its classes are known by their names: a worker does not import it.
    if _is_of_dagster(error, "RetryRequested"):
        again = Again(
            getattr(error, "seconds_to_wait", None) or 0.0, getattr(error, "max_retries", 1), is_attempt=True
        )
        return UnitReply("failed", 0.0, error=problem, again=again)
    final = (
        isinstance(error, FinalError)
        or (_is_of_dagster(error, "Failure") and not getattr(error, "allow_retries", True))
        # What the stage returns is of the same kind each time: another attempt would cost as much for nothing.
        or (attempt.returned and not isinstance(error, (MemoryError, OSError)))
    )
    return UnitReply("failed", 0.0, error=problem, final=final)


def _is_of_dagster(error: BaseException, name: str) -> bool:
    return any(
        kind.__name__ == name and kind.__module__.partition(".")[0] == "dagster"
        for kind in type(error).__mro__
    )


def with_memory_limit(message: str, memory_limit_mb: int | None) -> str:
    """Return *message* with the limit, in MiB, that the process had, which may be why."""
    if memory_limit_mb is None:
        return message
    return f"{message} (memory_limit_mb of the pool is {memory_limit_mb})".strip()


def _is_out_of_memory(error: BaseException) -> bool:
    """Tell whether *error*, or one that it was made of, says that there is no more memory."""
    seen: set[int] = set()
    to_visit: list[BaseException | None] = [error]
    while to_visit:
        each = to_visit.pop()
        if isinstance(each, MemoryError):
            return True
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            to_visit += (each.__cause__, each.__context__)
    return False


def described(error: BaseException) -> UnitError:
    """Return *error* as text, whatever its class does when it is asked for some."""
    try:
        return UnitError(_name(type(error)), _clipped(_message(error)), _clipped(_traceback(error)))
    except Exception as problem:  # nothing may come of describing an error
        # Out of memory or of stack again, or a class that lies about its name.
        return UnitError(type(error).__name__, f"the error could not be described: {type(problem).__name__}")


def _name(kind: type[BaseException]) -> str:
    """Return the class as a table shows it: of Python's own and of this package's the name says enough."""
    if kind.__module__ == "builtins" or issubclass(kind, FanoutError):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as problem:  # str() of a user's class may raise anything
        return f"(its message cannot be had: str() raised {type(problem).__name__})"


def _traceback(error: BaseException) -> str:
    """Return the traceback from the first line of the user's own code on, "" if none of it is involved."""
    own = _without_our_frames(error.__traceback__)
    if own is None and error.__cause__ is None and error.__context__ is None:
        return ""
    return "".join(traceback.format_exception(type(error), error, own))


def _without_our_frames(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and (
        trace.tb_frame.f_globals.get("__name__", "").startswith(_OURS)
        or trace.tb_frame.f_code.co_filename.startswith("<frozen importlib")
    ):
        trace = trace.tb_next
    return trace


def _clipped(text: str) -> str:
    # Half of a surrogate pair cannot be stored, and a message may quote one.
    text = text.encode(errors="backslashreplace").decode()
    if len(text) <= _MAX_MESSAGE_CHARS:
        return text
    half = _MAX_MESSAGE_CHARS // 2
    return f"{text[:half]}\n... {len(text) - 2 * half:,} characters left out ...\n{text[-half:]}"
