"""What every kind of fan-out asset can be declared with, each option explained once."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, TypedDict

import dagster as dg

from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.engine.per_worker import PerWorker
from project_fanout.engine.policy import FanoutPolicy
from project_fanout.orchestration.declaration import check_common
from project_fanout.orchestration.run_resources import RunResources


class StepOptions(TypedDict, total=False):
    """Options of the steps.

    Args:
        retry_policy: for the steps; units have `policy.max_attempts`. By default the collect step is tried three times
            when its storage fails, the others once.
        op_tags: tags of the steps that process records, e.g. for `tag_concurrency_limits`.
        pool: Dagster concurrency pool of the steps that process records.
        io_manager_key: IO manager of the asset's value.
        step_io_manager_key: IO manager of what travels between the steps; has to store any Python
            object. By default `io_manager`.
        unit_pool_key, ledger_key: under which keys the steps look for the `UnitPoolResource` and the
            `LedgerResource`. By default `unit_pool` and `ledger`.
    """

    retry_policy: dg.RetryPolicy | None
    op_tags: Mapping[str, Any] | None
    pool: str | None
    io_manager_key: str | None
    step_io_manager_key: str | None
    unit_pool_key: str | None
    ledger_key: str | None


class AssetOptions(TypedDict, total=False):
    """Options of the asset, as for `dagster.graph_asset`."""

    group_name: str | None
    description: str | None
    metadata: Mapping[str, Any] | None
    tags: Mapping[str, str] | None
    kinds: AbstractSet[str] | None
    owners: Sequence[str] | None
    partitions_def: dg.PartitionsDefinition | None
    backfill_policy: dg.BackfillPolicy | None
    code_version: str | None
    automation_condition: dg.AutomationCondition | None  # type: ignore[type-arg]  # any kind of key
    hooks: AbstractSet[dg.HookDefinition] | None


class FanoutOptions(AssetOptions, StepOptions, total=False):
    """All that the kinds of fan-out assets have in common.

    Args:
        policy: how to fan out, by default `FanoutPolicy()`; each field can be overridden per run.
        params: values that replace the functions' defaults for this asset.
        resources: what fills the keyword-only parameters of stages that are named like them. Of a resource it is
            what `for_units()` returns, asked once a run and read by all units; those of `Definitions` replace it. Of
            a `per_worker` function it is its value, made once in every worker.
        ins: upstream asset (AssetKey, name or AssetIn) of positional parameters that are not named like it.
        deps: assets that are only waited for, as for `dagster.asset`: of a dbt model, or of any asset that stores its
            value itself.
        key_prefix: as for `dagster.graph_asset`.
    """

    policy: FanoutPolicy | None
    params: Mapping[str, Any] | None
    resources: Mapping[str, Any] | None
    ins: Mapping[str, Any] | None
    deps: Iterable[Any] | None
    key_prefix: str | Sequence[str] | None


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What one asset has been declared with, of the right kinds: nothing else is left to be None.

    Args:
        key: the asset's key.
        policy, params, ins, deps: see `FanoutOptions`.
        resources: those of its resources that are Dagster's.
        set_ups: those that are `per_worker` functions.
        run_resources: where its pool and its ledger are.
        steps: the other options of its steps.
        asset: the options of the asset itself.
    """

    key: dg.AssetKey
    policy: FanoutPolicy
    params: Mapping[str, Any]
    resources: Mapping[str, Any]
    set_ups: Mapping[str, PerWorker[Any]]
    ins: Mapping[str, Any]
    deps: tuple[Any, ...]
    run_resources: RunResources
    steps: StepOptions
    asset: AssetOptions

    @property
    def supplied(self) -> Mapping[str, Any]:
        """All that fills parameters of stages, by their names."""
        return {**self.resources, **self.set_ups}

    @classmethod
    def of(cls, name: str, options: FanoutOptions) -> "Declared":
        """Return the *options* of the asset *name*, sorted.

        Raises:
            FanoutDefinitionError: one of them is of the wrong kind; names it, and what to write.
        """
        given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
        prefix = given.pop("key_prefix", ())
        key = dg.AssetKey([*([prefix] if isinstance(prefix, str) else prefix), name])
        policy = given.pop("policy", FanoutPolicy())
        mappings = {option: given.pop(option, {}) for option in ("params", "resources", "ins")}
        check_common(policy, mappings)
        resources = mappings.pop("resources")
        deps = given.pop("deps", ())
        if isinstance(deps, str) or not isinstance(deps, Iterable):
            raise FanoutDefinitionError(f"deps is {deps!r}, accepted: a list of assets; write deps=[...].")
        found = {option: given.pop(option) for option in ("unit_pool_key", "ledger_key") if option in given}
        set_ups = {name: each for name, each in resources.items() if isinstance(each, PerWorker)}
        others = {name: each for name, each in resources.items() if name not in set_ups}
        steps: Any = {option: given.pop(option) for option in StepOptions.__annotations__ if option in given}
        if "kinds" in given:
            given["kinds"] = set(given["kinds"])  # Dagster takes no other kind of set
        asset: Any = given
        return cls(
            key=key,
            policy=policy,
            resources=others,
            set_ups=set_ups,
            **mappings,
            deps=tuple(deps),
            run_resources=RunResources(**found),
            steps=steps,
            asset=asset,
        )
