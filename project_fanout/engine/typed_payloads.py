"""Payloads as a stage asks for them: `unit: Unit[Order]` gets an `Order`, made of the data that has travelled."""

import dataclasses
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, TypeVar, get_args, get_origin

from project_fanout.engine.annotations import annotations_of, is_union, plain_type, type_in_words
from project_fanout.engine.errors import FanoutDefinitionError, InvalidPayloadError
from project_fanout.engine.model import Unit


def typed_payload(stage: Callable[..., Any], payload: Any) -> Any:
    """Return *payload* as *stage* annotates it; as it is where that says nothing.

    Raises:
        InvalidPayloadError: it does not fit; names the field, what it holds, and why.
    """
    read = _reader(stage)
    return payload if read is None else read(payload)


def check_annotation(stage: Callable[..., Any]) -> None:
    """Refuse a stage whose annotation of its unit nothing can be made of.

    Raises:
        FanoutDefinitionError: says what the annotation is, and what is accepted.
    """
    _reader(stage)


def takes_a_batch(stage: Callable[..., Any]) -> bool:
    """Tell whether *stage* asks for a list of units: `units: list[Unit]`, or of `Unit[...]`, or a Sequence."""
    return _of_batch(_annotation_of(stage)) is not None


def _annotation_of(stage: Callable[..., Any]) -> Any:
    first = next(iter(inspect.signature(stage).parameters), "")
    return plain_type(annotations_of(stage).get(first, Any))


def _of_batch(annotation: Any) -> Any:
    """Return the annotation of one unit of a batch, None where *annotation* is that of no batch."""
    if get_origin(annotation) not in (list, Sequence):
        return None
    (inner,) = get_args(annotation)
    inner = plain_type(inner)
    return inner if inner is Unit or get_origin(inner) is Unit else None


@functools.lru_cache(maxsize=256)
def _reader(stage: Callable[..., Any]) -> Callable[[Any], Any] | None:
    annotation = _annotation_of(stage)
    annotation = _of_batch(annotation) or annotation
    if get_origin(annotation) is not Unit:
        return None
    (wanted,) = get_args(annotation)
    if wanted is Any or wanted is object or isinstance(wanted, TypeVar):
        return None
    kind = wanted if is_union(wanted) else get_origin(wanted) or wanted
    is_container = kind is not wanted and kind.__module__ in ("builtins", "collections", "collections.abc")
    if isinstance(kind, type) and not (is_container or is_union(wanted) or _is_made_of_data(kind)):
        # Checked without pydantic, which a worker with plain data does not need: 0.1 s and 15 MB. Of numpy's
        # NDArray[float64] that is the class; what dtype an array has, it says itself.
        return functools.partial(_instance, kind)
    try:
        return functools.partial(_validated, _validator(wanted), type_in_words(wanted))
    except Exception as error:  # pydantic's own errors derive from several classes
        raise FanoutDefinitionError(
            f"{stage.__qualname__} takes {type_in_words(annotation)}, accepted: Unit[...] of a dataclass, pydantic "
            f"model, NamedTuple, TypedDict, Enum, or a class whose instances travel ({str(error).splitlines()[0]})."
        ) from error


def _is_made_of_data(wanted: type) -> bool:
    return (
        dataclasses.is_dataclass(wanted)
        or issubclass(wanted, Enum)
        or hasattr(wanted, "__pydantic_validator__")
        or (issubclass(wanted, tuple) and hasattr(wanted, "_fields"))
        or (issubclass(wanted, dict) and hasattr(wanted, "__total__"))
    )


def _instance(wanted: type, payload: Any) -> Any:
    if isinstance(payload, wanted):
        return payload
    if wanted is float and type(payload) is int:
        return float(payload)
    raise InvalidPayloadError(
        f"payload is {_shown(payload)}, accepted: {type_in_words(wanted)}, as the stage annotates its unit."
    )


def _validator(wanted: Any) -> Callable[[Any], Any]:
    from pydantic import ConfigDict, TypeAdapter  # noqa: PLC0415  # only for stages that ask for it
    from pydantic.errors import PydanticSchemaGenerationError  # noqa: PLC0415

    if typing.is_typeddict(wanted):
        wanted = _accepted_by_pydantic(wanted)
    try:
        adapter = TypeAdapter(wanted)
    except PydanticSchemaGenerationError:
        # It holds arrays, frames or the like, which travel as they are.
        any_class = ConfigDict(arbitrary_types_allowed=True)
        if dataclasses.is_dataclass(wanted) or typing.is_typeddict(wanted):
            wanted.__pydantic_config__ = any_class  # the one place where pydantic looks for it
            adapter = TypeAdapter(wanted)
        else:
            adapter = TypeAdapter(wanted, config=any_class)
    # Data travels by the names of the fields, whatever aliases a model has for other sources.
    return functools.partial(adapter.validate_python, by_name=True, by_alias=True)


def _accepted_by_pydantic(wanted: Any) -> Any:
    """Return the TypedDict that pydantic takes: before Python 3.12 not that of `typing`."""
    import typing_extensions  # noqa: PLC0415  # comes with pydantic

    if sys.version_info >= (3, 12) or type(wanted).__module__ != "typing":
        return wanted
    hints = typing.get_type_hints(wanted, include_extras=True)
    fields = {
        name: hint if name in wanted.__required_keys__ else typing_extensions.NotRequired[hint]
        for name, hint in hints.items()
    }
    return typing_extensions.TypedDict(wanted.__name__, fields)  # type: ignore[operator]  # made while it runs


def _validated(validate: Callable[[Any], Any], name: str, payload: Any) -> Any:
    from pydantic import ValidationError  # noqa: PLC0415  # as above

    try:
        return validate(payload)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        reasons = "; ".join(
            f"payload{''.join(map(_place, each['loc']))} is {_shown(each['input'])}: {each['msg']}"
            for each in problems[:5]
        )
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise InvalidPayloadError(f"payload is no {name}: {reasons}{more}.") from None


def _place(part: str | int) -> str:
    return f"[{part}]" if isinstance(part, int) else f".{part}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
