"""The run config of a fan-out: `config: params:` and `config: policy:`, as the Launchpad shows it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg

from project_fanout.common import whole_characters
from project_fanout.engine.errors import FanoutDefinitionError, InvalidParamsError
from project_fanout.engine.params import Param, Params
from project_fanout.engine.policy import FanoutPolicy
from project_fanout.engine.settings import declared_settings
from project_fanout.orchestration.settings import setting_field


class InvalidRunConfigError(InvalidParamsError, dg.DagsterError):
    """Run config sets a param or policy field wrongly; raised before any unit runs.

    It is a `DagsterError` because Dagster hides the text of any other error that a config mapping raises.
    """


@dataclass(frozen=True)
class RunSettings:
    """What one run asks of the fan-out: the values of its params, which nobody may change, and its policy."""

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
    _last: list[tuple[str, RunSettings]] = field(default_factory=list, init=False, repr=False, compare=False)

    def schema(self) -> dict[str, dg.Field]:
        """Return the Dagster config schema, with type, description, bounds and default of every field."""
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
                name: setting_field(annotation, getattr(self.policy, name), coerced=False)
                for name, annotation in declared_settings(FanoutPolicy).items()
                if name not in leave_out
            },
            description="How this run fans out, instead of the asset's own policy.",
        )

    def read(self, config: Mapping[str, Any], *, anew: bool = False) -> RunSettings:
        """Return what *config* asks for, its params coerced to their types.

        What it has returned is returned again, without another look, while it is given the same: the steps of
        a run in one process read nothing, because the config mapping has read *anew* before the first of them.

        Raises:
            InvalidRunConfigError: names every field that is wrong, its value and what is accepted.
        """
        text = repr(config)
        for known, settings in self._last:
            if known == text and not anew:
                return settings
        settings = self._read(config)
        self._last[:] = [(text, settings)]
        return settings

    def _read(self, config: Mapping[str, Any]) -> RunSettings:
        problems = []
        values: dict[str, Any] = {}
        policy = self.policy
        where, params = self._params_in(whole_characters(config))
        try:
            values = self.params.read(params)
        except InvalidParamsError as error:
            problems.append(f"ops: {self.name}: {where}: {error}")
        try:
            policy = replace(self.policy, **config.get("policy", {}))
        except FanoutDefinitionError as error:
            problems.append(f"ops: {self.name}: config: policy: {error}")
        if problems:
            raise InvalidRunConfigError("\n".join(problems))
        return RunSettings(values, policy)

    def _params_in(self, config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """Return where in *config* the params are, for messages, and the params."""
        return "config: params", config.get("params", {})


def _param_field(param: Param) -> dg.Field:
    default = param.default
    if default is not None and not param.required:
        default = param.to_json(default)
    return setting_field(param.annotation, default, coerced=True)
