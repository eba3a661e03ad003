"""What a stage function is: importable by name, one unit in, keyword-only params beside it."""

import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from project_fanout.engine.errors import FanoutDefinitionError

_NEVER_REUSED = "__fanout_never_reused__"

_F = TypeVar("_F", bound=Callable[..., Any])


def never_reused(stage: _F) -> _F:
    """Mark a stage whose success is not the last word: no run takes its outcome from the ledger.

    For what reports on single items in its result, such as a batch of e-mails of which some could not be
    sent yet. The stage itself must know, by claims, what it need not do again.
    """
    setattr(stage, _NEVER_REUSED, True)
    return stage


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
    """

    name: str
    reference: str
    params: tuple[str, ...]
    import_root: str = ""
    reusable: bool = True


def describe_stage(function: object) -> Stage:
    """Return what a worker needs to know of a stage function.

    Raises:
        FanoutDefinitionError: *function* is not a function that a worker process can import by name
            and call as `stage(unit, **params)`.
    """
    remedy = (
        "Write it as `def stage(unit, *, param=default)` at the top level of a module that can be imported."
    )
    if not inspect.isfunction(function):
        raise FanoutDefinitionError(f"{function!r} is not a stage: it is not a function. {remedy}")
    reference = f"{function.__module__}:{function.__qualname__}"
    if function.__name__ == "<lambda>":
        raise FanoutDefinitionError(
            f"A lambda from {function.__module__} is not a stage: it has no name. {remedy}"
        )
    if "<locals>" in function.__qualname__:
        raise FanoutDefinitionError(f"{reference} is not a stage: it is nested in a function. {remedy}")
    if function.__module__ == "__main__":
        raise FanoutDefinitionError(
            f"{reference} is not a stage: a worker process cannot import the script itself. {remedy}"
        )
    if kind := _kind_without_result(function):
        raise FanoutDefinitionError(
            f"{reference} is not a stage: it is {kind}, so calling it gives no result. {remedy}"
        )
    try:
        found = _find(function.__module__, function.__qualname__)
    except ImportError as error:
        raise FanoutDefinitionError(f"{reference} is not a stage: {error}. {remedy}") from error
    if found is not function:
        raise FanoutDefinitionError(
            f"{reference} is not a stage: that name holds something else, so a worker process would "
            f"call that. {remedy}"
        )
    return Stage(
        function.__name__,
        reference,
        _keyword_params(function, reference, remedy),
        _import_root(function.__module__),
        reusable=not getattr(function, _NEVER_REUSED, False),
    )


def _import_root(module: str) -> str:
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return ""
    # Not resolved: where a link leads, the package may have another name or none.
    path = Path(file).absolute()
    depth = module.count(".") + (path.stem == "__init__")
    return str(path.parents[depth])


def _kind_without_result(function: Callable[..., Any]) -> str:
    if inspect.iscoroutinefunction(function):
        return "a coroutine function"
    if inspect.isasyncgenfunction(function):
        return "an asynchronous generator function"
    return "a generator function" if inspect.isgeneratorfunction(function) else ""


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
