"""What annotations say of params and settings, also in words.

Every pool worker imports this with `settings`, so bounds are known by their attributes and not by their types: a
worker has no use for annotated_types, which takes a fifth as long to import as the whole engine, or for pydantic.
"""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_args, get_origin

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
            name: kind for name, kind in getattr(behind, "__annotations__", {}).items() if name != "return"
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
        parts = (optional(plain_type(annotation)), *_metadata(annotation))
        return Annotated[parts]
    if is_union(annotation) and type(None) in get_args(annotation):
        return annotation
    return typing.Optional[annotation]  # noqa: UP045  # what stands in quotes has no `|`


def is_union(annotation: Any) -> bool:
    """Tell whether *annotation* is one of several types, in either spelling."""
    return get_origin(annotation) in (typing.Union, types.UnionType)


def without_none(annotation: Any) -> Any:
    """Return what *annotation* accepts beside None, which is one of its types."""
    others = tuple(kind for kind in get_args(annotation) if kind is not type(None))
    return typing.Union[others]  # noqa: UP007  # any number of them


def plain_type(annotation: Any) -> Any:
    """Return the type in an `Annotated[...]`, and any other type as it is."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def accepted_words(annotation: Any) -> str:
    """Return type and bounds as messages, the Launchpad and the docs name them, e.g. "int, 1 to 100"."""
    return ", ".join([type_in_words(annotation), *_bounds_in_words(annotation)])


def type_in_words(annotation: Any) -> str:
    """Return the type as a message names it, without its bounds, e.g. "list[int]"."""
    annotation = plain_type(annotation)
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(repr, inner))
    if is_union(annotation):
        return " | ".join(map(_choice_in_words, inner))
    if origin in (list, tuple, set, frozenset, dict):
        return f"{origin.__name__}[{', '.join(map(_item_in_words, inner))}]"
    if isinstance(annotation, type) and not inner:
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def _choice_in_words(kind: Any) -> str:
    if get_origin(kind) is typing.Literal:
        return " | ".join(map(repr, get_args(kind)))
    return "None" if kind is type(None) else _item_in_words(kind)


def description_of(annotation: Any) -> str:
    """Return the text in an `Annotated[...]`, "" where there is none."""
    for metadata in _metadata(annotation):
        text = metadata if isinstance(metadata, str) else getattr(metadata, "description", None)
        if text:
            return str(text)
    return ""


def _item_in_words(annotation: Any) -> str:
    if annotation is Ellipsis:
        return "..."
    bounds = ", ".join(_bounds_in_words(annotation))
    return f"{type_in_words(annotation)} ({bounds})" if bounds else type_in_words(annotation)


def _bounds_in_words(annotation: Any) -> list[str]:
    bounds = {
        name: getattr(bound, name)
        for metadata in _metadata(annotation)
        for bound in _single(metadata)
        for name in _WORDING
        if getattr(bound, name, None) is not None
    }
    if "ge" in bounds and "le" in bounds:
        bounds = {"range": f"{bounds.pop('ge')} to {bounds.pop('le')}", **bounds}
    return [_WORDING[name].format(value) for name, value in bounds.items()]


def _metadata(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def _single(metadata: Any) -> Iterator[Any]:
    """Yield the bounds in *metadata*, which is one, several in one (`Interval`, `Len`), or a pydantic `Field`."""
    grouped = getattr(metadata, "__is_annotated_types_grouped_metadata__", False)
    parts = metadata if grouped else getattr(metadata, "metadata", None)
    if parts is None:
        yield metadata
    else:
        for part in parts:
            yield from _single(part)


_WORDING = {
    "range": "{}",
    "ge": "{} or more",
    "gt": "more than {}",
    "le": "{} or less",
    "lt": "less than {}",
    "min_length": "at least {} long",
    "max_length": "at most {} long",
    "multiple_of": "a multiple of {}",
}
