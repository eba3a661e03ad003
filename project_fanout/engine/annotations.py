"""What the annotations of a function's parameters say, also in words.

Needs pydantic, as `params` does.
"""

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from project_fanout.engine.errors import FanoutDefinitionError


def function_behind(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that has the name and the annotations of *function*.

    It is another one for a `functools.partial` and for an object with `__call__`.
    """
    if isinstance(function, functools.partial):
        return function_behind(function.func)
    return function if inspect.isroutine(function) else type(function).__call__


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of a function's parameters.

    What it returns is nobody's business here, and may be a name that is imported under TYPE_CHECKING.

    Raises:
        FanoutDefinitionError: an annotation cannot be read.
    """
    behind = function_behind(function)
    parameters = types.SimpleNamespace(
        __annotations__={
            name: each for name, each in getattr(behind, "__annotations__", {}).items() if name != "return"
        },
        __type_params__=getattr(behind, "__type_params__", ()),
    )
    names = getattr(inspect.unwrap(behind), "__globals__", {})
    try:
        return typing.get_type_hints(parameters, globalns=names, include_extras=True)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise FanoutDefinitionError(
            f"The annotations of {behind.__qualname__} cannot be read: {error}. Import what they name at "
            f"the top of {behind.__module__}, not under TYPE_CHECKING."
        ) from error


def optional(annotation: Any) -> Any:
    """Return *annotation* with None accepted too: `width: int = None` says so by its default."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        parts = (optional(inner), *metadata)
        return Annotated[parts]
    if is_union(annotation) and type(None) in get_args(annotation):
        return annotation
    return typing.Optional[annotation]  # noqa: UP045  # what stands in quotes has no `|`


def is_union(annotation: Any) -> bool:
    """Tell whether *annotation* is one of several types, in either spelling."""
    return get_origin(annotation) in (typing.Union, types.UnionType)


def type_in_words(annotation: Any) -> str:
    """Return the type as a message names it, without its bounds, e.g. "list[int]"."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is typing.Literal:
        return "one of " + ", ".join(map(repr, get_args(annotation)))
    if is_union(annotation):
        return " | ".join(
            "None" if each is type(None) else type_in_words(each) for each in get_args(annotation)
        )
    origin = get_origin(annotation)
    if origin in (list, tuple, set, frozenset, dict):
        return f"{origin.__name__}[{', '.join(map(_item_type_name, get_args(annotation)))}]"
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def _item_type_name(annotation: Any) -> str:
    if annotation is Ellipsis:
        return "..."
    bounds = ", ".join(bounds_in_words(annotation))
    return f"{type_in_words(annotation)} ({bounds})" if bounds else type_in_words(annotation)


def _metadata(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def description_of(annotation: Any) -> str:
    """Return the text in an `Annotated[...]`, "" where there is none."""
    for each in _metadata(annotation):
        if isinstance(each, str):
            return each
        if isinstance(each, FieldInfo) and each.description:
            return each.description
    return ""


def bounds_in_words(annotation: Any) -> list[str]:
    """Return the bounds in an `Annotated[...]`, e.g. ["1 or more", "9 or less"]."""
    constraints: list[Any] = []
    for each in _metadata(annotation):
        constraints.extend(each.metadata if isinstance(each, FieldInfo) else [each])
    return [words for each in constraints for words in _words(each)]


def _words(constraint: Any) -> list[str]:
    if isinstance(constraint, annotated_types.GroupedMetadata):
        return [words for each in constraint for words in _words(each)]
    return [wording.format(constraint) for kind, wording in _WORDING.items() if isinstance(constraint, kind)]


_WORDING: dict[Any, str] = {
    annotated_types.Ge: "{0.ge} or more",
    annotated_types.Gt: "more than {0.gt}",
    annotated_types.Le: "{0.le} or less",
    annotated_types.Lt: "less than {0.lt}",
    annotated_types.MinLen: "at least {0.min_length} long",
    annotated_types.MaxLen: "at most {0.max_length} long",
    annotated_types.MultipleOf: "a multiple of {0.multiple_of}",
}
