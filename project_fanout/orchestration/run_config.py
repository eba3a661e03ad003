"""The run config of a fan-out: `config: params:` and `config: policy:`, as the Launchpad shows it."""

import json
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, get_args, get_origin

import dagster as dg

from project_fanout.engine.annotations import is_union
from project_fanout.engine.errors import FanoutDefinitionError, InvalidParamsError
from project_fanout.engine.params import Param, Params
from project_fanout.engine.policy import ACCEPTED, FanoutPolicy, bounds_text


class InvalidRunConfigError(InvalidParamsError, dg.DagsterError):
    """Run config sets a param or policy field wrongly; raised before any unit runs.

    It is a `DagsterError` because Dagster hides the text of any other error that a config mapping raises.
    """


@dataclass(frozen=True)
class Settings:
    """What one run asks of the fan-out: the values of its params, and its policy."""

    params: Mapping[str, Any]
    policy: FanoutPolicy


@dataclass(frozen=True)
class RunConfig:
    """What one fan-out accepts as run config.

    Args:
        name: the asset's name, for messages.
        params: its params.
        policy: its policy, whose fields are the defaults of `config: policy:`.
    """

    name: str
    params: Params
    policy: FanoutPolicy

    def schema(self) -> dict[str, dg.Field]:
        """Return the Dagster config schema, with description, bounds and default of every field."""
        return {
            "params": dg.Field(
                self.param_fields(), description="The keyword arguments of the records and stage functions."
            ),
            "policy": self.policy_field(),
        }

    def param_fields(self) -> dict[str, dg.Field]:
        """Return one field per param."""
        return {param.name: _param_field(param) for param in self.params}

    def policy_field(self, leave_out: Collection[str] = ()) -> dg.Field:
        """Return the field `policy`, without those settings that *leave_out* names."""
        return dg.Field(
            {
                each.name: _policy_field(each, getattr(self.policy, each.name))
                for each in _SETTINGS
                if each.name not in leave_out
            },
            description="How this run fans out, instead of the asset's own policy.",
        )

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse run config that `read` would refuse.

        Raises:
            InvalidRunConfigError: names every field that is wrong, its value and what is accepted.
        """
        self.read(config)

    def settings(self, config: Mapping[str, Any]) -> Settings:
        """Return what *config* asks for.

        Raises:
            InvalidRunConfigError: as `read`.
        """
        return Settings(*self.read(config))

    def read(self, config: Mapping[str, Any]) -> tuple[dict[str, Any], FanoutPolicy]:
        """Return the values of all params, coerced to their types, and the policy.

        Raises:
            InvalidRunConfigError: names every field that is wrong, its value and what is accepted.
        """
        return self.read_parts(config.get("params", {}), config.get("policy", {}), "config: params")

    def read_parts(
        self, params: Mapping[str, Any], policy: Mapping[str, Any], where: str
    ) -> tuple[dict[str, Any], FanoutPolicy]:
        """Return the values of all params, which are set at *where*, and the policy.

        Raises:
            InvalidRunConfigError: as `read`.
        """
        problems = []
        values: dict[str, Any] = {}
        read_policy = self.policy
        try:
            values = self.params.read(params)
        except InvalidParamsError as error:
            problems.append(f"ops: {self.name}: {where}: {error}")
        try:
            read_policy = replace(self.policy, **policy)
        except FanoutDefinitionError as error:
            problems.append(f"ops: {self.name}: config: policy: {error}")
        if problems:
            raise InvalidRunConfigError("\n".join(problems))
        return values, read_policy


_SETTINGS = fields(FanoutPolicy)


def _param_field(param: Param) -> dg.Field:
    description = f"{param.description.rstrip('.')}. " if param.description else ""
    description += f"Accepted: {param.accepted}."
    if param.required:
        return dg.Field(_config_type(param.annotation), description=description)
    default = None if param.default is None else param.to_json(param.default)
    return dg.Field(
        _config_type(param.annotation),
        description=f"{description} Default: {_yaml(default)}.",
        default_value=default,
        is_required=False,
    )


def _yaml(value: Any) -> str:
    """Return a JSON value as one would type it into the Launchpad."""
    return json.dumps(value, ensure_ascii=False)


def _config_type(annotation: Any) -> Any:
    """Return the closest Dagster config type whose refusals name the value and what is accepted.

    Numbers and booleans are `Any` there: the params read "123" as an int, which Dagster's Int refuses.
    Lists and dicts are, because Dagster's own refusal of anything else in their place hides the value.
    """
    if get_origin(annotation) is Annotated:
        return _config_type(get_args(annotation)[0])
    if annotation is str:
        return dg.String
    origin, choices = get_origin(annotation), get_args(annotation)
    if origin is typing.Literal and all(isinstance(each, str) for each in choices):
        return _enum(choices)
    if is_union(annotation) and type(None) in choices:
        return dg.Noneable(_config_type(_without_none(annotation)))
    return dg.Any


def _without_none(annotation: Any) -> Any:
    others = [each for each in get_args(annotation) if each is not type(None)]
    return others[0] if len(others) == 1 else Any


def _policy_field(setting: Any, default: Any) -> dg.Field:
    accepted = ACCEPTED[setting.name]
    config_type: Any
    if isinstance(accepted, tuple):
        config_type = _enum(accepted)
        words = " | ".join(accepted)
    else:
        config_type = {int: dg.Int, float: dg.Float, bool: dg.Bool}[accepted]
        words = ", ".join(filter(None, [accepted.__name__, bounds_text(setting.metadata)]))
    if setting.default is None:
        config_type, words = dg.Noneable(config_type), f"{words}, or null"
    description = f"{setting.metadata['description']} Accepted: {words}."
    if default is not None:  # the description of a field that may be null says what null means
        description += f" Default: {_yaml(default)}."
    return dg.Field(
        config_type,
        description=description,
        default_value=default,
        is_required=False,
    )


def _enum(choices: tuple[str, ...]) -> dg.Enum:
    # Dagster's refusal of another value shows the type's name, and nothing else of what is accepted. A single
    # choice is quoted because it may be the name of a type of Dagster's, such as Any.
    name = " | ".join(choices) if len(choices) > 1 else repr(choices[0])
    return dg.Enum(name, [dg.EnumValue(choice) for choice in choices])
