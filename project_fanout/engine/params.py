"""Params: the keyword-only parameters of the records and stage functions, as run config sets them.

Needs pydantic, so no pool worker imports it: params are read and coerced in the run's process.
"""

import functools
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, get_args, get_origin

import annotated_types
from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError

from project_fanout.engine.errors import FanoutDefinitionError, InvalidParamsError
from project_fanout.engine.plan import PlannedStage
from project_fanout.engine.stages import Stage

REQUIRED: Any = inspect.Parameter.empty


@dataclass(frozen=True)
class Param:
    """One keyword-only parameter.

    Args:
        name: its name, the same in every function that takes it.
        annotation: its type; `Any` where it has none.
        default: its default, `REQUIRED` where it has none.
        description: the text in its `Annotated[...]`, "" where there is none.
        taken_by: names of the functions that take it.
    """

    name: str
    annotation: Any
    default: Any
    description: str
    taken_by: tuple[str, ...]

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @property
    def accepted(self) -> str:
        """Type and bounds in words, e.g. "int, 1 or more"."""
        return ", ".join([_type_name(self.annotation), *_bounds(self.annotation)])

    def coerce(self, value: object) -> Any:
        """Return *value* as this param's type: "123" for an int is 123.

        Raises:
            InvalidParamsError: it is not of that type; names param, value and what is accepted.
        """
        try:
            return self._adapter.validate_python(value)
        except ValidationError as error:
            reasons = "; ".join(
                f"{'.'.join(map(str, each['loc']))}: {each['msg']}" if each["loc"] else each["msg"]
                for each in error.errors()[:3]
            )
            raise InvalidParamsError(
                f"{self.name} is {value!r}, accepted: {self.accepted} ({reasons})"
            ) from None

    def to_json(self, value: object) -> Any:
        """Return *value*, which is of this param's type, as JSON, for the run config."""
        return self._adapter.dump_python(value, mode="json")

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.annotation)


class Params:
    """All params of one fan-out.

    Args:
        records: the records function, None where there is none; its positional parameters are
            upstream assets, not params.
        stages: the stage functions.
        settings: values that replace the defaults of the functions for this asset.
        reserved: keyword-only parameters of *records* that are not params.
        supplied: keyword-only parameters of the stages that are not params: resources fill them.

    Raises:
        FanoutDefinitionError: two functions disagree on a param, a setting names no param, or a
            default or setting is not of the param's type.
    """

    def __init__(
        self,
        records: Callable[..., Any] | None,
        stages: Sequence[Callable[..., Any]],
        settings: Mapping[str, Any] | None = None,
        reserved: frozenset[str] = frozenset(),
        supplied: frozenset[str] = frozenset(),
    ) -> None:
        self._by_name: dict[str, Param] = {}
        takers = [(stage, supplied) for stage in stages]
        if records is not None:
            takers.insert(0, (records, reserved))
        for function, left_out in takers:
            for found in _params_of(function, left_out):
                self._add(found)
        settings = settings or {}
        if unknown := [name for name in settings if name not in self._by_name]:
            raise FanoutDefinitionError(f"params sets {', '.join(map(repr, unknown))}, {self._takes()}.")
        for name, value in settings.items():
            self._by_name[name] = _with_default(self._by_name[name], value)
        for param in self._by_name.values():
            if not param.required:
                self._by_name[param.name] = _with_default(param, _checked_default(param))

    def __iter__(self) -> typing.Iterator[Param]:
        return iter(self._by_name.values())

    def read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return every param's value: *values* coerced to their types, defaults for the rest.

        Raises:
            InvalidParamsError: names every unknown, missing or wrong param at once.
        """
        problems = [
            f"{name} is no param (its value: {values[name]!r}), {self._takes()}"
            for name in values
            if name not in self._by_name
        ]
        read: dict[str, Any] = {}
        for param in self:
            if param.name in values:
                try:
                    read[param.name] = param.coerce(values[param.name])
                except InvalidParamsError as error:
                    problems.append(str(error))
            elif param.required:
                problems.append(f"{param.name} is missing, accepted: {param.accepted}")
            else:
                read[param.name] = param.default
        if problems:
            raise InvalidParamsError("; ".join(problems) + ".")
        return read

    def plan(self, stage: Stage, values: Mapping[str, Any]) -> PlannedStage:
        """Return *stage* with those of *values*, which `read` has returned, that it takes."""
        taken = {name: values[name] for name in stage.params if name in values}
        return PlannedStage(stage, taken, self.to_json(taken))

    def to_json(self, values: Mapping[str, Any]) -> str:
        """Return *values*, which `read` has returned, as JSON text: the same for the same values."""
        return json.dumps(
            {
                name: value if value is None else self._by_name[name].to_json(value)
                for name, value in values.items()
            },
            sort_keys=True,
        )

    def _add(self, found: Param) -> None:
        known = self._by_name.get(found.name)
        if known is None:
            self._by_name[found.name] = found
            return
        if not _same(known.annotation, found.annotation) or not _same(known.default, found.default):
            raise FanoutDefinitionError(
                f"{known.taken_by[0]} and {found.taken_by[0]} both take the param {found.name!r} but declare "
                f"it differently ({_differently(known, found)}): one value goes to both, "
                "so give them the same type and default, or different names."
            )
        self._by_name[found.name] = replace(
            known,
            description=known.description or found.description,
            taken_by=known.taken_by + found.taken_by,
        )

    def _takes(self) -> str:
        return (
            f"accepted: {', '.join(self._by_name)}" if self._by_name else "accepted: none, it takes no params"
        )


def function_behind(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that has the name and the annotations of *function*.

    It is another one for a `functools.partial` and for an object with `__call__`.
    """
    if isinstance(function, functools.partial):
        return function_behind(function.func)
    return function if inspect.isroutine(function) else type(function).__call__


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of a function's parameters.

    Raises:
        FanoutDefinitionError: an annotation cannot be read.
    """
    behind = function_behind(function)
    try:
        return typing.get_type_hints(behind, include_extras=True)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise FanoutDefinitionError(
            f"The annotations of {behind.__qualname__} cannot be read: {error}. Import what they name at "
            f"the top of {behind.__module__}, not under TYPE_CHECKING."
        ) from error


def _params_of(function: Callable[..., Any], left_out: frozenset[str]) -> list[Param]:
    hints = annotations_of(function)
    behind = function_behind(function)
    found = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name not in left_out:
            annotation = hints.get(parameter.name, Any)
            if parameter.default is None:
                annotation = _or_none(annotation)
            try:
                adapter = TypeAdapter(annotation)
                if parameter.default is not REQUIRED:
                    adapter.dump_python(parameter.default, mode="json", warnings=False)
            except (PydanticUserError, PydanticSerializationError) as error:
                shown = _shown(parameter.name, _type_name(annotation), parameter.default)
                raise FanoutDefinitionError(
                    f"{behind.__qualname__} takes {shown}, which run config cannot hold; use text, "
                    f"numbers, booleans, lists, dicts or dataclasses ({str(error).splitlines()[0].rstrip('.')})."
                ) from None
            found.append(
                Param(
                    parameter.name,
                    annotation,
                    parameter.default,
                    _description(annotation),
                    (behind.__name__,),
                )
            )
    return found


def _or_none(annotation: Any) -> Any:
    """Return *annotation* with None accepted too: `width: int = None` says so by its default."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        parts = (_or_none(inner), *metadata)
        return Annotated[parts]
    if _is_union(annotation) and type(None) in get_args(annotation):
        return annotation
    return typing.Optional[annotation]  # noqa: UP045  # what stands in quotes has no `|`


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (typing.Union, types.UnionType)


def _checked_default(param: Param) -> Any:
    try:
        return param.coerce(param.default)
    except InvalidParamsError as error:
        raise FanoutDefinitionError(f"The default of {', '.join(param.taken_by)}: {error}.") from None


def _with_default(param: Param, default: Any) -> Param:
    return replace(param, default=default)


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and bool(one == other)


def _differently(one: Param, other: Param) -> str:
    """Return both declarations, in full where their types alone read the same."""
    short, whole = (
        [_shown("", text(each.annotation), each.default) for each in (one, other)]
        for text in (_type_name, lambda annotation: str(annotation).replace("typing.", ""))
    )
    return " and ".join(short if short[0] != short[1] else whole)


def _shown(name: str, kind: str, default: Any) -> str:
    """Return a parameter as it is written, e.g. "width: int = 640"."""
    return f"{name}: {kind}".removeprefix(": ") + ("" if default is REQUIRED else f" = {default!r}")


def _type_name(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is typing.Literal:
        return "one of " + ", ".join(map(repr, get_args(annotation)))
    if _is_union(annotation):
        return " | ".join("None" if each is type(None) else _type_name(each) for each in get_args(annotation))
    origin = get_origin(annotation)
    if origin in (list, tuple, set, frozenset, dict):
        return f"{origin.__name__}[{', '.join(map(_item_type_name, get_args(annotation)))}]"
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def _item_type_name(annotation: Any) -> str:
    if annotation is Ellipsis:
        return "..."
    bounds = ", ".join(_bounds(annotation))
    return f"{_type_name(annotation)} ({bounds})" if bounds else _type_name(annotation)


def _metadata(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def _description(annotation: Any) -> str:
    for each in _metadata(annotation):
        if isinstance(each, str):
            return each
        if isinstance(each, FieldInfo) and each.description:
            return each.description
    return ""


def _bounds(annotation: Any) -> list[str]:
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
