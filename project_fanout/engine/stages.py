"""What a stage function is: importable by name, one unit in, keyword-only params beside it."""

import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any, TypeGuard, TypeVar

from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.engine.model import UnitOutcome
from project_fanout.engine.typed_payloads import check_annotation, takes_a_batch

_NEVER_REUSED = "__fanout_never_reused__"
_REUSED_IF = "__fanout_reused_if__"

_F = TypeVar("_F", bound=Callable[..., Any])


def never_reused(stage: _F) -> _F:
    """Mark a stage whose success is not the last word: no run takes its outcome from the ledger.

    For what reports on single items in its result, such as a batch of e-mails of which some could not be
    sent yet. The stage itself must know, by claims, what it need not do again.
    """
    _mark(stage, _NEVER_REUSED, value=True)
    return stage


def reused_if(is_intact: Callable[[Any], bool]) -> Callable[[_F], _F]:
    """Mark a stage whose results name something outside of the ledger, such as a file that it has written.

    A run takes an earlier result in the place of running the unit only where that is still there.

    Args:
        is_intact: called in the run's process with the result; False or an `OSError` has the unit run again.
    """

    def mark(stage: _F) -> _F:
        _mark(stage, _REUSED_IF, value=is_intact)
        return stage

    return mark


def _mark(stage: Callable[..., Any], mark: str, *, value: object) -> None:
    try:
        setattr(stage, mark, value)
    except AttributeError:
        raise FanoutDefinitionError(
            f"{stage!r} cannot be marked, because it is compiled: mark a `def stage(unit)` that calls it."
        ) from None


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage function as a worker finds it.

    Args:
        name: the function's name, as in the asset's `stage` column.
        reference: "package.module:function".
        params: names of its keyword-only parameters.
        import_root: the folder from which its module can be imported, "" if that is not known. Dagster
            takes the folder of a code location off `sys.path` again once it is loaded.
        reusable: whether a later run may take its outcomes from the ledger; see `never_reused`.
        is_async: whether it is a coroutine function, of which a worker runs many at once.
        is_batch: whether it takes a list of units.
        is_intact: tells of an earlier result whether it may still be taken; see `reused_if`. None for always.
    """

    name: str
    reference: str
    params: tuple[str, ...]
    import_root: str = ""
    reusable: bool = True
    is_async: bool = False
    is_batch: bool = False
    is_intact: Callable[[Any], bool] | None = field(default=None, compare=False)

    def may_reuse(self, outcome: UnitOutcome) -> bool:
        """Tell whether an earlier *outcome* may be taken: whether what it names, if it is a success, is still there."""
        if self.is_intact is None or not outcome.succeeded:
            return True
        try:
            return bool(self.is_intact(outcome.result))
        except OSError:
            return False


def describe_stage(function: object) -> Stage:
    """Return what a worker needs to know of a stage function.

    Raises:
        FanoutDefinitionError: *function* is not a function that a worker process can import by name
            and call as `stage(unit, **params)`.
    """
    remedy = (
        "Write it as `def stage(unit, *, param=default)` at the top level of a module that can be imported."
    )
    if not _is_function(function):
        raise FanoutDefinitionError(f"{function!r} is not a stage: it is not a function. {remedy}")
    reference = importable_name(function, function, "a stage", remedy)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        kind = "an asynchronous generator" if inspect.isasyncgenfunction(function) else "a generator"
        raise FanoutDefinitionError(
            f"{reference} is not a stage: it is {kind} function, so calling it gives no result. {remedy}"
        )
    try:
        inspect.signature(function)
    except ValueError:
        raise FanoutDefinitionError(
            f"{reference} is not a stage: it is compiled, and does not say which parameters it takes. {remedy} It may "
            f"call {function.__name__}."
        ) from None
    check_annotation(function)
    return Stage(
        function.__name__,
        reference,
        _keyword_params(function, reference, remedy),
        import_root_of(function.__module__),
        reusable=not getattr(function, _NEVER_REUSED, False),
        # Cython marks its coroutine functions as asyncio once did.
        is_async=inspect.iscoroutinefunction(function) or bool(getattr(function, "_is_coroutine", False)),
        is_batch=takes_a_batch(function),
        is_intact=getattr(function, _REUSED_IF, None),
    )


def _is_function(thing: object) -> TypeGuard[Callable[..., Any]]:
    """Tell whether *thing* is a function, be it one that Cython, numba, mypyc or a C compiler has made."""
    if inspect.isbuiltin(thing):
        # A method of an object is one, too; and nobody's stage is one of Python's own.
        return inspect.ismodule(thing.__self__) and thing.__module__ != "builtins"
    if inspect.isfunction(thing):
        return True
    # Those of Cython and numba have the code object of a function, and are none.
    is_compiled = callable(thing) and isinstance(getattr(thing, "__code__", None), CodeType)
    return is_compiled and not inspect.ismethod(thing)


def importable_name(function: Callable[..., Any], named: object, what: str, remedy: str) -> str:
    """Return the "package.module:function" by which a worker process finds *named*.

    Args:
        function: the function itself.
        named: what its name stands for in its module, if a decorator has made something else of it.
        what: what it is to be, for the message.
        remedy: what to write instead.

    Raises:
        FanoutDefinitionError: a worker process would not find it; says why.
    """
    reference = f"{function.__module__}:{function.__qualname__}"
    if function.__name__ == "<lambda>":
        raise FanoutDefinitionError(
            f"A lambda from {function.__module__} is not {what}: it has no name. {remedy}"
        )
    if "<locals>" in function.__qualname__:
        raise FanoutDefinitionError(f"{reference} is not {what}: it is nested in a function. {remedy}")
    if function.__module__ == "__main__":
        raise FanoutDefinitionError(
            f"{reference} is not {what}: a worker process cannot import the script itself. {remedy}"
        )
    try:
        found = _find(function.__module__, function.__qualname__)
    except ImportError as error:
        raise FanoutDefinitionError(f"{reference} is not {what}: {error}. {remedy}") from error
    if found is not named:
        raise FanoutDefinitionError(
            f"{reference} is not {what}: that name holds something else, so a worker process would "
            f"call that. {remedy}"
        )
    return reference


def import_root_of(module: str) -> str:
    """Return the folder from which *module* can be imported, "" if that is not known."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return ""
    # Not resolved: where a link leads, the package may have another name or none.
    path = Path(file).absolute()
    depth = module.count(".") + (path.stem == "__init__")
    return str(path.parents[depth])


def _find(module: str, qualname: str) -> object:
    found: Any = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def _keyword_params(function: Callable[..., Any], reference: str, remedy: str) -> tuple[str, ...]:
    positional, keyword = [], []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            keyword.append(parameter.name)
        elif parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise FanoutDefinitionError(
                f"{reference} is not a stage: {parameter} hides which params it takes; name each. {remedy}"
            )
        else:
            positional.append(parameter.name)
    if len(positional) != 1:
        raise FanoutDefinitionError(
            f"{reference} is not a stage: it takes {len(positional)} positional parameters "
            f"({', '.join(positional) or 'none'}), accepted: one, the unit. {remedy}"
        )
    return tuple(keyword)
