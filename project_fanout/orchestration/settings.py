"""What is declared as `Annotated[type, "what it does", bounds]`, as Dagster takes and shows it."""

import dataclasses
import json
import typing
from typing import Annotated, Any, ClassVar, get_args, get_origin

import dagster as dg
from pydantic import TypeAdapter, create_model

from project_fanout.engine.annotations import (
    accepted_words,
    description_of,
    is_union,
    plain_type,
    type_in_words,
    without_none,
)
from project_fanout.engine.params import REQUIRED
from project_fanout.engine.settings import declared_settings
from project_fanout.orchestration.internals import ConfigType, ConfigTypeKind

_STRICT = {int: dg.Int, float: dg.Float, bool: dg.Bool, str: dg.String}


def explained(annotation: Any, default: Any = REQUIRED) -> str:
    """Return what a setting does, what it accepts, and its default as one would type it into the Launchpad.

    A text that itself says what happens by default is not followed by "Default: null".
    """
    text = description_of(annotation)
    parts = [f"{text.rstrip('.')}."] if text else []
    parts.append(f"Accepted: {accepted_words(annotation)}.")
    if default is not REQUIRED and not (default is None and "Default: " in text):
        parts.append(f"Default: {json.dumps(default, ensure_ascii=False)}.")
    return " ".join(parts)


def setting_field(annotation: Any, default: Any = REQUIRED, *, coerced: bool) -> dg.Field:
    """Return the Dagster config field of a setting.

    Args:
        annotation: its declaration.
        default: its default as JSON, `REQUIRED` for none.
        coerced: whether "123" is accepted for an int, as params do; its reader has the say then.
    """
    options = {} if default is REQUIRED else {"default_value": default, "is_required": False}
    return dg.Field(
        _config_type(annotation, coerced=coerced), description=explained(annotation, default), **options
    )


def _config_type(annotation: Any, *, coerced: bool) -> Any:
    """Return the Dagster config type that shows *annotation* and whose refusals name value and what is accepted.

    Where the reader coerces, numbers and booleans have a name and nothing else: Dagster's Int refuses "123". The
    same with lists and dicts, because Dagster's own refusal of anything else in their place hides the value.
    """
    kind = plain_type(annotation)
    choices = get_args(kind)
    if get_origin(kind) is typing.Literal and all(isinstance(choice, str) for choice in choices):
        return _enum(choices)
    if is_union(kind) and type(None) in choices:
        return dg.Noneable(_config_type(without_none(kind), coerced=coerced))
    builtin = _STRICT.get(kind)
    if builtin is not None and (kind is str or not coerced):
        return builtin
    return dg.Any if kind is Any else _named(kind)


def _named(kind: Any) -> ConfigType:
    """Return a type that accepts anything, and has the name of *kind* in the Launchpad instead of "Any"."""
    name = type_in_words(kind)
    if isinstance(kind, type) and name == kind.__name__ and kind.__module__ != "builtins":
        # Dagster refuses a job with two types of one name, and names an enumeration like its class.
        name = f"{kind.__module__}.{kind.__qualname__}"
    return ConfigType(key=f"project_fanout.{name}", kind=ConfigTypeKind.ANY, given_name=name)


def _enum(choices: tuple[str, ...]) -> dg.Enum:
    # Dagster's refusal of another value shows the type's name, and nothing else of what is accepted. A single
    # choice is quoted because it may be the name of a type of Dagster's, such as Any.
    name = " | ".join(choices) if len(choices) > 1 else repr(choices[0])
    return dg.Enum(name, [dg.EnumValue(choice) for choice in choices])


class DeclaredResource(dg.ConfigurableResource):  # type: ignore[type-arg]  # its value is the resource itself
    """A resource whose fields are declared as `Annotated[type, "what it does", bounds]`."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for field in cls.model_fields.values():
            declared = (field.annotation, *field.metadata)
            default = REQUIRED if field.is_required() else field.get_default(call_default_factory=True)
            field.description = explained(Annotated[declared], default)


class SettingsResource(DeclaredResource):
    """A resource whose fields are those of a dataclass of settings, and whose value for stages is that dataclass."""

    settings_type: ClassVar[type[Any]]

    def for_units(self) -> Any:
        """Return the settings as the stage takes them."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        return TypeAdapter(self.settings_type).validate_python(given)


def resource_of(settings: type, module: str) -> type[SettingsResource]:
    """Return the resource of *settings*, a dataclass whose fields all have a default.

    It has the dataclass's name with "Resource" after it, its docstring and its fields, and belongs to *module*.
    """
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        annotation, default = declared_settings(settings)[field.name], field.default
        fields[field.name] = (_listed(annotation), list(default) if isinstance(default, tuple) else default)
    resource = create_model(
        f"{settings.__name__}Resource",
        __base__=SettingsResource,
        __module__=module,
        __doc__=settings.__doc__,
        **fields,
    )
    resource.settings_type = settings
    return resource


def _listed(annotation: Any) -> Any:
    """Return *annotation* with a list in the place of a tuple, which Dagster's config does not know."""
    if get_origin(annotation) is Annotated:
        kind, *metadata = get_args(annotation)
        parts = (_listed(kind), *metadata)
        return Annotated[parts]
    return list[get_args(annotation)[0]] if get_origin(annotation) is tuple else annotation  # type: ignore[misc]
