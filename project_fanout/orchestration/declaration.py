"""What the factories of assets are given, checked before anything is made of it."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.engine.per_worker import PerWorker
from project_fanout.engine.policy import FanoutPolicy
from project_fanout.engine.stages import Stage


def check_common(policy: object, mappings: Mapping[str, object]) -> None:
    """Refuse what is of the wrong kind, whose use would fail later or elsewhere.

    Args:
        policy: the policy.
        mappings: arguments that are mappings, by their names.

    Raises:
        FanoutDefinitionError: names the argument, its value, what is accepted, and what to write.
    """
    _check_policy(policy)
    for name, value in mappings.items():
        if not isinstance(value, Mapping):
            raise FanoutDefinitionError(
                f"{_said(name, value)}, accepted: a mapping; write {name}={{name: value}}."
            )


def check_resources(resources: Mapping[str, Any], stages: Sequence[Stage]) -> None:
    """Refuse resources that cannot fill a parameter of *stages*.

    Raises:
        FanoutDefinitionError: names the resource, what is accepted, and what to write.
    """
    for key, resource in resources.items():
        if isinstance(resource, PerWorker):
            _check_set_up(key, resource, stages)
            continue
        # What `configure_at_launch` returns stands for one of its class.
        methods = getattr(resource, "resource_cls", resource)
        if not (hasattr(resource, "get_resource_definition") and hasattr(methods, "for_units")):
            raise FanoutDefinitionError(
                f"{_said(f'resources: {key}', resource)}, accepted: a ConfigurableResource with a method "
                "`for_units(self)` that returns what the stages get, any value that can be pickled; or a function "
                "under @per_worker, which every worker calls once."
            )
    taken = list(dict.fromkeys(name for stage in stages for name in stage.params))
    if unknown := [key for key in resources if key not in taken]:
        raise FanoutDefinitionError(
            f"resources names {', '.join(map(repr, unknown))}, accepted: the keyword-only parameters of the "
            f"stages ({', '.join(taken) or 'they have none'})."
        )


def _check_set_up(key: str, set_up: PerWorker[Any], stages: Sequence[Stage]) -> None:
    try:
        set_up.check()
    except FanoutDefinitionError as error:
        raise FanoutDefinitionError(f"resources: {key}: {error}") from error.__cause__
    waits = [stage.name for stage in stages if key in stage.params and not stage.is_async]
    if set_up.is_async and waits:
        raise FanoutDefinitionError(
            f"resources: {key}: {set_up.function.__qualname__} is asynchronous, accepted for coroutine stages alone; "
            f"write {', '.join(waits)} as `async def`, or the set-up as a `def`."
        )


def check_stages(stages: object) -> None:
    """Refuse what is not a list of at least one stage.

    Raises:
        FanoutDefinitionError: shows what was given, and what to write.
    """
    if isinstance(stages, Sequence) and not isinstance(stages, (str, bytes)):
        if not stages:
            raise FanoutDefinitionError("stages is empty; give at least one stage function.")
        return
    written = f"[{getattr(stages, '__name__', 'stage')}]"
    raise FanoutDefinitionError(
        f"{_said('stages', stages)}, accepted: a list of functions; write stages={written}."
    )


def _check_policy(policy: object) -> None:
    if isinstance(policy, FanoutPolicy):
        return
    settings = policy if isinstance(policy, Mapping) and policy else {"max_attempts": 3}
    written = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    raise FanoutDefinitionError(
        f"{_said('policy', policy)}, accepted: a FanoutPolicy; write policy=FanoutPolicy({written})."
    )


def check_aggregate(aggregate: object) -> None:
    """Refuse what cannot be called with the table alone; None stands for the table itself.

    Raises:
        FanoutDefinitionError: shows what was given, and what to write.
    """
    if aggregate is None:
        return
    remedy = "accepted: a function of one argument, the table; write `def aggregate(table): return ...`"
    if not callable(aggregate):
        raise FanoutDefinitionError(f"{_said('aggregate', aggregate)}, {remedy}.")
    try:
        signature = inspect.signature(aggregate)
    except ValueError:
        return  # some built-in functions do not tell
    try:
        signature.bind(None)
    except TypeError as error:
        raise FanoutDefinitionError(
            f"{_said('aggregate', aggregate)}, which cannot be called with the table alone ({error}), {remedy}."
        ) from None


def _said(name: str, value: object) -> str:
    return f"{name} is {value!r}, a {type(value).__name__}"
