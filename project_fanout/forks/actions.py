"""Actions: chains of stages that a request names, by name and version, and the registry of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from project_fanout.engine.errors import FanoutDefinitionError, FanoutError
from project_fanout.engine.params import ParamFault, Params
from project_fanout.engine.plan import PlannedStage
from project_fanout.engine.stages import Stage, describe_stage


class UnknownActionError(FanoutError):
    """A request names an action, or a version of one, that is not registered."""


@dataclass(frozen=True)
class Action:
    """A chain of stages under a name and version.

    Args:
        name: what a request calls it; Conductor's name of a task or workflow.
        stages: one or more stage functions; each takes what the one before it returned. Their
            keyword-only parameters are the action's inputs.
        version: 1 or more; a request that gives no version gets the highest.

    Raises:
        FanoutDefinitionError: one of them is not acceptable.
    """

    name: str
    stages: Sequence[Callable[..., Any]]
    version: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise FanoutDefinitionError(f"{self.name!r} is not an action's name: a name is non-empty text.")
        if isinstance(self.version, bool) or not isinstance(self.version, int) or self.version < 1:
            raise FanoutDefinitionError(
                f"Action {self.name!r} has the version {self.version!r}, accepted: int, 1 or more."
            )
        if callable(self.stages) or not self.stages:
            raise FanoutDefinitionError(
                f"Action {self.name!r} has the stages {self.stages!r}; give a list of at least one function."
            )

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"


@dataclass(frozen=True)
class RegisteredAction:
    """An action whose stages have been found acceptable.

    Args:
        action: the action.
        stages: its stages as a worker finds them.
        params: its inputs: the keyword-only parameters of all its stages.
    """

    action: Action
    stages: tuple[Stage, ...]
    params: Params

    def plan(self, inputs: Mapping[str, Any]) -> tuple[PlannedStage, ...]:
        """Return the stages with *inputs*, coerced to the types of the parameters that take them.

        Raises:
            InvalidParamsError: names every unknown, missing or wrong input at once.
        """
        return self._planned(self.params.read(inputs))

    def checked_plan(self, inputs: Mapping[str, Any]) -> tuple[tuple[PlannedStage, ...], list[ParamFault]]:
        """Return what `plan` does, or no stages, and what is wrong with *inputs*."""
        values, faults = self.params.checked(inputs)
        return () if faults else self._planned(values), faults

    def _planned(self, values: Mapping[str, Any]) -> tuple[PlannedStage, ...]:
        return tuple(self.params.plan(stage, values) for stage in self.stages)


@dataclass(frozen=True)
class Actions:
    """A registry of actions.

    Args:
        actions: `Action`s; a plain stage function is the action of one stage that is named like it.
        defaults: values that replace the defaults of inputs, in every action that has them.
        supplied: what fills keyword-only parameters of stages, which so are no inputs, by their names.

    Raises:
        FanoutDefinitionError: two actions have the same name and version, a stage or default is not
            acceptable, or no action has an input that *defaults* names.
    """

    actions: Iterable[Action | Callable[..., Any]]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    supplied: Mapping[str, Any] = field(default_factory=dict)
    _registered: dict[tuple[str, int], RegisteredAction] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for action in self.actions:
            self._register(action if isinstance(action, Action) else _single(action))
        self.check_inputs(self.defaults, "params sets")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of all actions."""
        return tuple(stage for registered in self._registered.values() for stage in registered.stages)

    def find(self, name: str, version: int | None = None) -> RegisteredAction:
        """Return the action *name* in *version*, by default the highest.

        Raises:
            UnknownActionError: there is none; says which there are.
        """
        versions = sorted(version for known, version in self._registered if known == name)
        if not versions:
            known = ", ".join(map(repr, dict.fromkeys(name for name, _ in self._registered))) or "none"
            raise UnknownActionError(f"{name!r} is not registered, accepted: {known}")
        if version is not None and version not in versions:
            raise UnknownActionError(
                f"{name!r} has no version {version}, accepted: {', '.join(map(str, versions))}"
            )
        return self._registered[name, version or versions[-1]]

    def check_inputs(self, names: Iterable[str], what: str) -> None:
        """Refuse *names* that are inputs of no action.

        Raises:
            FanoutDefinitionError: begins with *what*, names those and the inputs that there are.
        """
        known = {param.name for registered in self._registered.values() for param in registered.params}
        if unknown := [name for name in names if name not in known]:
            accepted = ", ".join(sorted(known)) or "none, no action has an input"
            raise FanoutDefinitionError(f"{what} {', '.join(map(repr, unknown))}, accepted: {accepted}.")

    def _register(self, action: Action) -> None:
        if (action.name, action.version) in self._registered:
            raise FanoutDefinitionError(f"There are two actions {action}: give one another name or version.")
        try:
            stages = tuple(describe_stage(stage) for stage in action.stages)
            own = {param.name for param in Params(None, action.stages, supplied=self.supplied)}
            defaults = {name: value for name, value in self.defaults.items() if name in own}
            params = Params(None, action.stages, defaults, supplied=self.supplied)
        except FanoutDefinitionError as error:
            raise FanoutDefinitionError(f"Action {action}: {error}") from error.__cause__
        self._registered[action.name, action.version] = RegisteredAction(action, stages, params)


def _single(stage: Callable[..., Any]) -> Action:
    return Action(describe_stage(stage).name, [stage])
