"""Run one call where it stands: the one code path of every pool."""

import importlib
import json
import pickle
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import TracebackType
from typing import Any

from project_fanout.engine.errors import FanoutError, FinalError
from project_fanout.engine.model import Fanout, Unit, UnitError
from project_fanout.engine.pools.calls import UnitCall, UnitReply
from project_fanout.engine.values import to_json

#: Longest result, as JSON text, that a pool accepts unless told otherwise.
MAX_RESULT_BYTES = 64 * 1024 * 1024

# An error with a whole document in its message must not fill the run's log.
_MAX_MESSAGE_CHARS = 20_000


def execute(
    call: UnitCall,
    *,
    max_result_bytes: int = MAX_RESULT_BYTES,
    on_loaded: Callable[[], None] = lambda: None,
    around: AbstractContextManager[object] | None = None,
    interruptible: bool = False,
    memory_limit_mb: int | None = None,
) -> UnitReply:
    """Run *call* in this thread and return what became of it: succeeded or failed, whatever is raised.

    Crashed, if a memory limit is set and it has run into that, also where a library has made another
    error of it: what is left of a process without memory is not to be trusted with another call.

    Args:
        call: the attempt to run.
        max_result_bytes: longest result, as JSON text, that is not refused.
        on_loaded: called when the stage has been imported, just before it runs.
        around: what the stage runs in; entered when the stage has been imported, since what its module
            does and logs on import is not the unit's.
        interruptible: let an interrupt of this process (KeyboardInterrupt and other exceptions that
            derive from BaseException alone, SystemExit excepted) pass instead of ending the unit as failed.
        memory_limit_mb: limit that this process has been given, in MiB, None without one.
    """
    started = time.perf_counter()
    returned = False
    try:
        stage = load_stage(call.stage, call.import_root)
        with around or nullcontext():
            on_loaded()
            started = time.perf_counter()
            result = stage(Unit(call.unit_key, json.loads(call.payload_json)), **pickle.loads(call.params))
        returned = True
        result_json, fanout = _encoded(result, max_result_bytes)
    except BaseException as error:
        if interruptible and not isinstance(error, (Exception, SystemExit, GeneratorExit)):
            raise
        seconds, problem = time.perf_counter() - started, described(error)
        if memory_limit_mb is None or not _is_out_of_memory(error):
            # What the stage returns is of the same kind each time: another attempt would cost as much for nothing.
            final = isinstance(error, FinalError) or (returned and not isinstance(error, MemoryError))
            return UnitReply("failed", seconds, error=problem, final=final)
        message = with_memory_limit(problem.message, memory_limit_mb)
        return UnitReply("crashed", seconds, error=replace(problem, message=message))
    return UnitReply("succeeded", time.perf_counter() - started, result_json, fanout)


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


def load_stage(name: str, import_root: str = "") -> Callable[..., Any]:
    """Import the stage function that *name* ("package.module:function") points to.

    Args:
        name: module and function.
        import_root: folder to look in, too, if the module is not found on `sys.path`.

    Raises:
        ValueError: *name* is not of that form.
        TypeError: what it names is not callable.
        ImportError, AttributeError: there is no such module or function.
    """
    module_name, _, qualified_name = name.partition(":")
    if not module_name or not qualified_name:
        raise ValueError(f"{name!r} does not name a stage: write it as 'package.module:function'.")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError:
        if not import_root or import_root in sys.path:
            raise
        sys.path.append(import_root)
        found = importlib.import_module(module_name)
    for part in qualified_name.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(
            f"{name!r} is a {type(found).__name__}, not a function: a stage is called with a Unit."
        )
    stage: Callable[..., Any] = found
    return stage


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


def _encoded(result: object, max_bytes: int) -> tuple[str | None, tuple[tuple[str, str], ...] | None]:
    """Return the result as JSON text, or key and JSON text of each unit of a `Fanout`."""
    if not isinstance(result, Fanout):
        text = to_json(result, "result")
        _check_size(len(text), max_bytes)
        return text, None
    units = tuple((unit.key, to_json(unit.payload, f"payload of unit {unit.key!r}")) for unit in result.units)
    _check_size(sum(len(key) + len(payload) for key, payload in units), max_bytes)
    return None, units


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ValueError(
            f"the result is {size:,} bytes of JSON, more than max_result_bytes = {max_bytes:,}: "
            "store it and return where it is."
        )


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
        trace.tb_frame.f_globals.get("__name__") in (__name__, "importlib", "project_fanout.engine.model")
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
