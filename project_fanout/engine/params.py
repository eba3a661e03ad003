"""Params: the keyword-only parameters of the records and stage functions, as run config sets them.

Needs pydantic, so no pool worker imports it: params are read and coerced in the run's process.
"""

import copy
import dataclasses
import datetime as dt
import decimal
import inspect
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError

from project_fanout.engine.annotations import (
    accepted_words,
    annotations_of,
    function_behind,
    optional,
    type_in_words,
)
from project_fanout.engine.errors import FanoutDefinitionError, InvalidParamsError
from project_fanout.engine.per_worker import PerWorker
from project_fanout.engine.plan import PlannedStage
from project_fanout.engine.stages import Stage

REQUIRED: Any = inspect.Parameter.empty
_NUMBERS = (int, float, decimal.Decimal, dt.timedelta)
_KEYS: TypeAdapter[dict[Any, None]] = TypeAdapter(dict[Any, None])


@dataclass(frozen=True)
class Param:
    """One keyword-only parameter.

    Args:
        name: its name, the same in every function that takes it.
        annotation: its type; `Any` where it has none.
        default: its default, `REQUIRED` where it has none.
        taken_by: names of the functions that take it.
    """

    name: str
    annotation: Any
    default: Any
    taken_by: tuple[str, ...]

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @property
    def accepted(self) -> str:
        """Type and bounds in words, e.g. "int, 1 or more"."""
        return accepted_words(self.annotation)

    def coerce(self, value: object) -> Any:
        """Return *value* as this param's type: "123" for an int is 123.

        Raises:
            InvalidParamsError: it is not of that type; names param, value and what is accepted.
        """
        try:
            coerced = self.adapter.validate_python(value)
        except ValidationError as error:
            reasons = "; ".join(
                f"{'.'.join(map(str, each['loc']))}: {each['msg']}" if each["loc"] else each["msg"]
                for each in error.errors()[:3]
            )
            raise InvalidParamsError(
                f"{self.name} is {value!r}, accepted: {self.accepted} ({reasons})"
            ) from None
        plain = self.adapter.dump_python(coerced, warnings=False)
        if (place := _boolean_as_number(value, plain)) is not None:
            what = f"{place} is a boolean" if place else "a boolean"
            raise InvalidParamsError(
                f"{self.name} is {value!r}, accepted: {self.accepted} ({what}, no number)"
            )
        if merged := _merged_keys(plain):
            raise InvalidParamsError(
                f"{self.name} is {value!r}, accepted: {self.accepted}, whose keys differ as text, since run config "
                f"holds them as text ({merged[0]!r} and {merged[1]!r} do not)"
            )
        return coerced

    def to_json(self, value: object) -> Any:
        """Return *value*, which is of this param's type, as JSON, for the run config."""
        return self.adapter.dump_python(_in_order(value), mode="json", warnings=False)

    def is_default(self, value: object) -> bool:
        """Tell whether *value* is what the run config shows as this param's default."""
        shown = None if self.default is None else self.to_json(self.default)
        return json.dumps(value, default=repr) == json.dumps(shown)

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.annotation)


class ParamFault(NamedTuple):
    """What is wrong with one param.

    Args:
        name: the param's name, or what was given as one.
        kind: what is wrong.
        text: the same in words, with the value and what is accepted.
    """

    name: str
    kind: Literal["unknown", "missing", "wrong"]
    text: str


class Params:
    """All params of one fan-out.

    Args:
        records: the records function, None where there is none; its positional parameters are
            upstream assets, not params.
        stages: the stage functions.
        settings: values that replace the defaults of the functions for this asset.
        reserved: keyword-only parameters of *records* that are not params.
        supplied: what fills keyword-only parameters of the stages, which so are no params, by their names. The
            parameters of a `per_worker` function that fills one are params.

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
        supplied: Mapping[str, Any] | None = None,
    ) -> None:
        self._by_name: dict[str, Param] = {}
        supplied = supplied or {}
        taken = {name for stage in stages for name in inspect.signature(stage).parameters}
        self._set_ups = {
            name: (set_up, [param.name for param in _params_of(set_up.function, frozenset())])
            for name, set_up in supplied.items()
            if isinstance(set_up, PerWorker) and name in taken
        }
        takers = [(stage, frozenset(supplied)) for stage in stages]
        takers += [(set_up.function, frozenset()) for set_up, _ in self._set_ups.values()]
        if records is not None:
            takers.insert(0, (records, reserved))
        for function, left_out in takers:
            for found in _params_of(function, left_out):
                self._add(found)
        settings = settings or {}
        if unknown := [name for name in settings if name not in self._by_name]:
            raise FanoutDefinitionError(f"params sets {', '.join(map(repr, unknown))}, {self._takes()}.")
        for name, value in settings.items():
            self._by_name[name] = replace(self._by_name[name], default=value)
        for param in self._by_name.values():
            if not param.required:
                self._by_name[param.name] = replace(param, default=_checked_default(param))

    def __iter__(self) -> typing.Iterator[Param]:
        return iter(self._by_name.values())

    def read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return every param's value: *values* coerced to their types, defaults for the rest.

        Raises:
            InvalidParamsError: names every unknown, missing or wrong param at once.
        """
        read, faults = self.checked(values)
        if faults:
            raise InvalidParamsError("; ".join(fault.text for fault in faults) + ".")
        return read

    def checked(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[ParamFault]]:
        """Return what `read` does of those of *values* that are right, and what is wrong with the others."""
        faults = [
            ParamFault(name, "unknown", f"{name} is no param (its value: {values[name]!r}), {self._takes()}")
            for name in values
            if name not in self._by_name
        ]
        read: dict[str, Any] = {}
        for param in self:
            given = param.name in values
            if not param.required and (not given or param.is_default(values[param.name])):
                # Not what JSON has made of it, and a copy, so that no run changes it for the next one.
                read[param.name] = copy.deepcopy(param.default)
            elif given:
                try:
                    read[param.name] = param.coerce(values[param.name])
                except InvalidParamsError as error:
                    faults.append(ParamFault(param.name, "wrong", str(error)))
            else:
                text = f"{param.name} is missing, accepted: {param.accepted}"
                faults.append(ParamFault(param.name, "missing", text))
        return read, faults

    def plan(self, stage: Stage, values: Mapping[str, Any]) -> PlannedStage:
        """Return *stage* with those of *values*, which `read` has returned, that it takes, and how it is set up."""
        taken = {name: values[name] for name in stage.params if name in values}
        set_ups, theirs = [], {}
        for name in stage.params:
            if name in self._set_ups:
                set_up, own = self._set_ups[name]
                given = {each: values[each] for each in own}
                set_ups.append((name, set_up.with_params(given)))
                theirs.update(given)
        # Another model gives other results: what a unit was set up with is part of what it is.
        return PlannedStage(stage, taken, self.to_json({**theirs, **taken}), tuple(set_ups))

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
        self._by_name[found.name] = replace(known, taken_by=known.taken_by + found.taken_by)

    def _takes(self) -> str:
        return (
            f"accepted: {', '.join(self._by_name)}" if self._by_name else "accepted: none, it takes no params"
        )


def _boolean_as_number(value: Any, plain: Any) -> str | None:
    """Return where in *value* a boolean stands that became a number in *plain*, "" for itself; None for nowhere.

    pydantic takes true for 1: `width: true` would make a picture of one pixel.
    """
    if isinstance(value, bool):
        return "" if isinstance(plain, _NUMBERS) and not isinstance(plain, bool) else None
    pairs: list[tuple[Any, Any, Any]] = []
    if isinstance(value, Mapping) and isinstance(plain, Mapping):
        pairs = [(key, each, plain[key]) for key, each in value.items() if key in plain]
    elif isinstance(value, (list, tuple)) and isinstance(plain, (list, tuple)):
        pairs = [(at, *pair) for at, pair in enumerate(zip(value, plain, strict=False))]
    elif isinstance(value, (list, tuple)) and isinstance(plain, AbstractSet):
        kept = sorted(plain, key=lambda each: not isinstance(each, bool))[:1]  # a boolean, if it has kept one
        pairs = [(at, each, became) for at, each in enumerate(value) for became in kept]
    for key, each, became in pairs:
        if (place := _boolean_as_number(each, became)) is not None:
            return f"{key}.{place}" if place else str(key)
    return None


def _merged_keys(plain: Any) -> tuple[Any, Any] | None:
    """Return two keys of one dict in *plain* that JSON writes alike, None if there are none."""
    if isinstance(plain, (list, tuple)):
        return next(filter(None, map(_merged_keys, plain)), None)
    if not isinstance(plain, dict):
        return None
    by_text: dict[str, Any] = {}
    for key in plain:
        (text,) = _KEYS.dump_python({key: None}, mode="json", warnings=False)
        if text in by_text:
            return by_text[text], key
        by_text[text] = key
    return next(filter(None, map(_merged_keys, plain.values())), None)


def _in_order(value: Any) -> Any:
    """Return *value* with the sets in it as lists in an order that no hash seed changes."""
    if isinstance(value, (set, frozenset)):
        return sorted(map(_in_order, value), key=repr)
    if isinstance(value, dict):
        return {key: _in_order(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return [_in_order(each) for each in value]
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return value.model_copy(update={name: _in_order(getattr(value, name)) for name in fields})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        copied = copy.copy(value)
        for field in dataclasses.fields(value):
            object.__setattr__(copied, field.name, _in_order(getattr(value, field.name)))
        return copied
    return value


def _params_of(function: Callable[..., Any], left_out: frozenset[str]) -> list[Param]:
    hints = annotations_of(function)
    behind = function_behind(function)
    found = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name not in left_out:
            annotation = hints.get(parameter.name, Any)
            if parameter.default is None:
                annotation = optional(annotation)
            param = Param(parameter.name, annotation, parameter.default, (behind.__name__,))
            try:
                adapter = param.adapter
                if not param.required:
                    adapter.dump_python(param.default, mode="json", warnings=False)
            except (PydanticUserError, ValueError) as error:
                shown = _shown(param.name, type_in_words(annotation), param.default)
                raise FanoutDefinitionError(
                    f"{behind.__qualname__} takes {shown}, which run config cannot hold; use text, "
                    f"numbers, booleans, lists, dicts or dataclasses ({str(error).splitlines()[0].rstrip('.')})."
                ) from None
            found.append(param)
    return found


def _checked_default(param: Param) -> Any:
    try:
        return param.coerce(param.default)
    except InvalidParamsError as error:
        raise FanoutDefinitionError(f"The default of {', '.join(param.taken_by)}: {error}.") from None


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and bool(one == other)


def _differently(one: Param, other: Param) -> str:
    """Return both declarations, in full where their types alone read the same."""
    short, whole = (
        [_shown("", text(each.annotation), each.default) for each in (one, other)]
        for text in (type_in_words, lambda annotation: str(annotation).replace("typing.", ""))
    )
    return " and ".join(short if short[0] != short[1] else whole)


def _shown(name: str, kind: str, default: Any) -> str:
    """Return a parameter as it is written, e.g. "width: int = 640"."""
    return f"{name}: {kind}".removeprefix(": ") + ("" if default is REQUIRED else f" = {default!r}")
