"""`build_request_asset`: a graph-backed asset whose run config is a job request."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import dagster as dg
from dagster import AssetsDefinition

from project_fanout.engine.model import Record
from project_fanout.engine.params import Params
from project_fanout.forks.actions import Action, Actions
from project_fanout.forks.job_request import InvalidRequestError, read_request, read_text
from project_fanout.orchestration.asset import define_asset, upstream_of
from project_fanout.orchestration.ops import FanoutOps
from project_fanout.orchestration.options import Declared, FanoutOptions
from project_fanout.orchestration.run_config import InvalidRunConfigError, RunConfig, RunSettings

if TYPE_CHECKING:
    from typing_extensions import Unpack  # in typing only since Python 3.11

_POLICY = "policy"


def as_requested(
    *,
    action: Annotated[
        Any, "Action that each task of the first job runs; or a list of names, as in action_chain."
    ] = None,
    payload: Annotated[Any, "Inputs of the actions: a map from name to value."] = None,
    fanout: Annotated[
        Any, "What the first job fans out over: range(first, last), both included, or {foreach: [...]}."
    ] = None,
    next_actions: Annotated[Any, "Names of the actions whose jobs follow, in order."] = None,
    action_chain: Annotated[Any, "Instead of action and next_actions: all names in order."] = None,
    request: Annotated[
        str | None, "Alternatively, the whole request as text, one `field: value` a line."
    ] = None,
) -> dict[str, Any]:
    """Run the job request that the run config gives."""
    fields = {name: value for name, value in locals().items() if name != "request"}
    if request is None:
        return fields
    if given := [name for name, value in fields.items() if value is not None]:
        raise InvalidRequestError(f"request is given beside {', '.join(given)}: it stands for all of them.")
    return read_text(request)


@dataclass(frozen=True, kw_only=True)
class RequestRunConfig(RunConfig):
    """What a job request accepts as run config: its fields and `policy`.

    Args:
        actions: what it may name.
    """

    actions: Actions

    def schema(self) -> dict[str, dg.Field]:
        """Return the Dagster config schema."""
        return {**self.param_fields(), _POLICY: self.policy_field()}

    def _read(self, config: Mapping[str, Any]) -> RunSettings:
        """Return the settings, whose params are the fields of the request; refuse one that cannot be started."""
        problems = []
        try:
            settings = super()._read(config)
        except InvalidRunConfigError as error:
            problems.append(str(error))
            settings = RunSettings(self.params.read(self._params_in(config)[1]), self.policy)
        try:
            self.records(settings)
        except InvalidRequestError as error:
            problems.append(f"ops: {self.name}: config: {error}")
        if problems:
            raise InvalidRunConfigError("\n".join(problems))
        return settings

    def _params_in(self, config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        return "config", {name: value for name, value in config.items() if name != _POLICY}

    def records(self, settings: RunSettings) -> Iterator[Record]:
        """Check the request and return an iterator over a record per task.

        Raises:
            InvalidRequestError: names all problems of the request.
        """
        return read_request(as_requested(**settings.params), self.actions, settings.policy)


@dataclass(frozen=True, kw_only=True)
class RequestOps(FanoutOps):
    """Makes the ops of one job request: its records are the tasks."""

    run_config: RequestRunConfig

    def find_records(
        self,
        settings: RunSettings,
        ins: Mapping[str, Any],  # noqa: ARG002  # a request has no upstream assets
        partition_keys: Sequence[str],  # noqa: ARG002  # what others need
    ) -> Iterable[Record]:
        """Return the tasks of the request."""
        return self.run_config.records(settings)


def build_request_asset(
    name: str, *, actions: Sequence[Action | Callable[..., Any]], **options: "Unpack[FanoutOptions]"
) -> AssetsDefinition:
    """Return a graph-backed asset that runs the job request in its run config.

    Each task of the first job is a step, `process_record[task_<item>]`, which takes it through all jobs of
    the chain: what a task of one job fans out to are tasks of the next. The asset's value is the DataFrame
    of every fan-out, one row per task of the last job and one per task that ended earlier without success.

    Args:
        name: the asset's name.
        actions: what requests may name: `Action`s, or plain stage functions.
        options: as for `build_fanout_asset`, but for *ins*: a request has no upstream assets. *params*
            replace the defaults of the actions' inputs.

    Raises:
        FanoutDefinitionError: an action or another argument is not acceptable; says which and why.
    """

    def make(declared: Declared) -> RequestOps:
        registry = Actions(tuple(actions), declared.params, declared.supplied)
        return RequestOps(
            declared=declared,
            records=as_requested,
            upstream=upstream_of(as_requested, declared),
            known_stages=registry.stages,
            run_config=RequestRunConfig(
                name=declared.key.to_python_identifier(),
                params=Params(as_requested, []),
                policy=declared.policy,
                actions=registry,
            ),
        )

    return define_asset("build_request_asset", name, options, make)
