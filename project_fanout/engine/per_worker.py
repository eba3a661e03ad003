"""`per_worker`: what a stage needs and each worker makes once, such as a model or a connection."""

import functools
import inspect
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.engine.stages import import_root_of, importable_name

_T = TypeVar("_T")
_P = ParamSpec("_P")


@dataclass(frozen=True, slots=True)
class SetUp:
    """How a worker makes the value of a `per_worker` function.

    Args:
        reference: "package.module:function".
        import_root: folder to import it from if it is not on the worker's path.
        params: its keyword arguments, a pickled dict.
    """

    reference: str
    import_root: str
    params: bytes


class PerWorker(Generic[_T]):
    """A function that every worker calls once, with what becomes of its value; see `per_worker`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Any, **params: Any) -> Any:
        """Call the function itself, as its own tests do."""
        return self.function(*arguments, **params)

    def with_params(self, params: Mapping[str, Any]) -> SetUp:
        """Return how a worker makes its value with *params*."""
        module = self.function.__module__
        reference = f"{module}:{self.function.__qualname__}"
        return SetUp(reference, import_root_of(module), pickle.dumps(dict(params)))

    def check(self) -> None:
        """Refuse a function that a worker process could not find.

        Raises:
            FanoutDefinitionError: says why.
        """
        remedy = "Write it as `@per_worker` over a `def` at the top level of a module that can be imported."
        importable_name(self.function, self, "a set-up", remedy)

    @property
    def is_async(self) -> bool:
        """Whether it needs an event loop, so that only coroutine stages can take it."""
        return inspect.iscoroutinefunction(self.function) or inspect.isasyncgenfunction(self.function)


def per_worker(function: Callable[_P, Any]) -> PerWorker[Any]:
    """Mark a function whose value is made once in each worker: `resources={"model": model}` gives it to stages.

    It is called in a worker before the first unit whose stage takes it; that time is not the unit's. A generator
    yields its value once, and what follows the `yield` runs when the worker ends: also when it is recycled or its
    run is cancelled, not when it is killed. An asynchronous one serves coroutine stages, on their event loop.

    Args:
        function: `def model(*, path: str = "m.bin")` at the top level of an importable module. Its keyword-only
            parameters are params of the asset.

    Raises:
        FanoutDefinitionError: it takes positional parameters.
    """
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            name = getattr(function, "__qualname__", repr(function))
            raise FanoutDefinitionError(
                f"per_worker({name}): it takes {parameter}, accepted: keyword-only parameters; write "
                f"`def {getattr(function, '__name__', 'setup')}(*, {parameter.name}=...)`."
            )
    return PerWorker(function)
