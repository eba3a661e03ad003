"""`build_fanout_asset`: a graph-backed asset from a records function and stage functions."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg
from dagster import AssetsDefinition

from project_fanout.engine.annotations import annotations_of, function_behind
from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.engine.model import Record
from project_fanout.engine.params import Params
from project_fanout.engine.policy import FanoutPolicy
from project_fanout.engine.stages import describe_stage
from project_fanout.orchestration.beta import beta_parts_of_dagster
from project_fanout.orchestration.declaration import check_aggregate, check_resources, check_stages
from project_fanout.orchestration.ops import PARTITION_KEY, PARTITION_KEYS, FanoutOps, Upstream
from project_fanout.orchestration.options import Declared, FanoutOptions
from project_fanout.orchestration.run_config import RunConfig


class FanoutAssetsDefinition(AssetsDefinition):
    """A graph-backed asset that brings its own resources, which those of `Definitions` replace.

    Dagster refuses a resource that both an asset and its `Definitions` give. Here the asset's are
    defaults, so that it materialises without any and still takes the user's.
    """

    @staticmethod
    def dagster_internal_init(**attributes: Any) -> "AssetsDefinition":
        """Return an asset of this class where Dagster makes a copy with another group, key or hook."""
        with beta_parts_of_dagster():
            return FanoutAssetsDefinition(**attributes)

    def with_resources(self, resource_defs: Mapping[str, dg.ResourceDefinition]) -> "AssetsDefinition":
        """Return the asset with *resource_defs*, which win over its own.

        Raises:
            FanoutDefinitionError: one has the key of its pool or its ledger, and is something else.
        """
        if (ops := ops_of(self)) is not None:
            ops.run_resources.check(resource_defs)
        attributes = self.get_attributes_dict()
        attributes["resource_defs"] = {
            key: resource for key, resource in self.resource_defs.items() if key not in resource_defs
        }
        with beta_parts_of_dagster():
            return AssetsDefinition.with_resources(self.__class__(**attributes), resource_defs)


def build_fanout_asset(
    name: str,
    *,
    records: Callable[..., Iterable[Record]],
    stages: Sequence[Callable[..., Any]],
    aggregate: Callable[..., Any] | None = None,
    policy: FanoutPolicy | None = None,
    params: Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    ins: Mapping[str, Any] | None = None,
    deps: Iterable[Any] | None = None,
    key_prefix: str | Sequence[str] | None = None,
    group_name: str | None = None,
    description: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    kinds: AbstractSet[str] | None = None,
    owners: Sequence[str] | None = None,
    partitions_def: dg.PartitionsDefinition | None = None,
    backfill_policy: dg.BackfillPolicy | None = None,
    code_version: str | None = None,
    retry_policy: dg.RetryPolicy | None = None,
    automation_condition: dg.AutomationCondition | None = None,  # type: ignore[type-arg]  # any kind of key
    check_specs: Sequence[dg.AssetCheckSpec] | None = None,
    hooks: AbstractSet[dg.HookDefinition] | None = None,
    op_tags: Mapping[str, Any] | None = None,
    pool: str | None = None,
    io_manager_key: str | None = None,
    step_io_manager_key: str | None = None,
    unit_pool_key: str | None = None,
    ledger_key: str | None = None,
) -> AssetsDefinition:
    """Return a graph-backed asset: a step that finds the records, one per record, one that collects.

    The asset's value is a DataFrame with one row per unit of the last stage, and one per unit that
    ended earlier without success, in record and unit order: `record_key, unit_key, stage, status,
    attempts, seconds, error`, then the fields of the results. With *aggregate* it is what that returns.

    Its run config is `ops: <name>: config: {params: {...}, policy: {...}}`. It takes its pool from the
    resource `unit_pool` (`UnitPoolResource`); without one, all fan-outs of a run share a default pool.

    Args:
        name: the asset's name.
        records: returns or yields the `Record`s. Its positional parameters are upstream assets, its
            keyword-only parameters are params; `partition_key`, if it names it, is the partition's key, and
            `partition_keys` the list of all keys of a run that has several.
        stages: functions `stage(unit, *, param=default)` at the top level of importable modules. Each
            returns a value (docs/values.md) or a `Fanout`; units of a `Fanout` go to the next stage, and any other
            result of a stage that is not the last becomes the payload of one unit of the next.
        aggregate: makes the asset's value of the DataFrame; may return a `dagster.MaterializeResult`
            with value, metadata and check results. One whose parameter is named `batches` gets an iterator
            of DataFrames in the order of the records, of some 10,000 rows or of one step with more; no more
            of the table is in memory.
        check_specs: checks whose results *aggregate* returns, besides the asset's own
            `all_units_succeeded`.
        policy, params, resources, ins, deps, key_prefix: see `FanoutOptions`.
        retry_policy, op_tags, pool, io_manager_key, step_io_manager_key, unit_pool_key, ledger_key: of the steps,
            see `StepOptions`.
        group_name, description, metadata, tags, kinds, owners, partitions_def, backfill_policy,
            code_version, automation_condition, hooks: as for `dagster.graph_asset`.

    Raises:
        FanoutDefinitionError: an argument is not acceptable; says which and why.
    """
    options = FanoutOptions(
        policy=policy,
        params=params,
        resources=resources,
        ins=ins,
        deps=deps,
        key_prefix=key_prefix,
        group_name=group_name,
        description=description,
        metadata=metadata,
        tags=tags,
        kinds=kinds,
        owners=owners,
        partitions_def=partitions_def,
        backfill_policy=backfill_policy,
        code_version=code_version,
        retry_policy=retry_policy,
        automation_condition=automation_condition,
        hooks=hooks,
        op_tags=op_tags,
        pool=pool,
        io_manager_key=io_manager_key,
        step_io_manager_key=step_io_manager_key,
        unit_pool_key=unit_pool_key,
        ledger_key=ledger_key,
    )

    def make(declared: Declared) -> FanoutOps:
        check_stages(stages)
        check_aggregate(aggregate)
        return FanoutOps(
            declared=declared,
            records=records,
            upstream=upstream_of(records, declared),
            stages=(described := tuple(describe_stage(stage) for stage in stages)),
            known_stages=described,
            aggregate=aggregate,
            aggregate_checks=tuple(check_specs or ()),
            run_config=RunConfig(
                declared.key.to_python_identifier(),
                Params(
                    records,
                    stages,
                    declared.params,
                    reserved=frozenset({PARTITION_KEY, PARTITION_KEYS}),
                    supplied=declared.supplied,
                ),
                declared.policy,
            ),
        )

    return define_asset("build_fanout_asset", name, options, make)


def define_asset(
    factory: str, name: str, options: FanoutOptions, make: Callable[[Declared], FanoutOps]
) -> AssetsDefinition:
    """Return the asset *name* of any kind.

    Args:
        factory: the function that the user has called, for messages.
        name: the asset's name.
        options: what the user has given beside what only that kind of asset has.
        make: returns the asset's ops.

    Raises:
        FanoutDefinitionError: an argument is not acceptable; says of which asset, and why.
    """
    try:
        declared = Declared.of(name, options)
        ops = make(declared)
        check_resources(declared.supplied, ops.known_stages)
    except FanoutDefinitionError as error:
        raise FanoutDefinitionError(f"{factory}({name!r}): {error}") from error.__cause__
    described: dict[str, Any] = {"description": inspect.getdoc(function_behind(ops.records))}
    with beta_parts_of_dagster():
        decorated = dg.graph_asset(
            name=name,
            key_prefix=declared.key.path[:-1] or None,
            ins={name: upstream.asset_in for name, upstream in ops.upstream.items()},
            config=dg.ConfigMapping(config_fn=ops.config_of_ops, config_schema=ops.run_config.schema()),
            check_specs=ops.check_specs,
            resource_defs=ops.resource_defs,
            **{**described, **declared.asset},
        )(ops.compose())
        defined = FanoutAssetsDefinition(**decorated.get_attributes_dict())
    _OPS[defined.node_def] = ops
    return defined


# The ops of each fan-out, by the graph that has been made of them: of an asset Dagster makes copies, with another key
# or group, but not of its graph.
_OPS: "WeakKeyDictionary[object, FanoutOps]" = WeakKeyDictionary()


def ops_of(asset: AssetsDefinition) -> FanoutOps | None:
    """Return the ops of a fan-out asset, None for any other asset."""
    return _OPS.get(asset.node_def) if asset.is_executable else None


def upstream_of(records: Callable[..., Any], declared: Declared) -> dict[str, Upstream]:
    """Return what each positional parameter of *records* takes.

    Raises:
        FanoutDefinitionError: *records* cannot be called with what it asks for; says why.
    """
    if not callable(records):
        raise FanoutDefinitionError(
            f"records is {records!r}; give a function that returns or yields Records."
        )
    parameters = inspect.signature(records).parameters
    backfill_policy = declared.asset.get("backfill_policy")
    asked = [name for name in (PARTITION_KEY, PARTITION_KEYS) if name in parameters]
    if asked and declared.asset.get("partitions_def") is None:
        raise FanoutDefinitionError(
            f"records takes {asked[0]}, but the asset has no partitions; give partitions_def."
        )
    if PARTITION_KEY in parameters and backfill_policy and backfill_policy.max_partitions_per_run != 1:
        raise FanoutDefinitionError(
            "records takes partition_key, but with this backfill_policy a run can have several partitions: "
            f"take partition_keys, which is a list of all of them, or leave {backfill_policy} out."
        )
    hints = annotations_of(records)
    upstream: dict[str, Upstream] = {}
    for parameter in parameters.values():
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise FanoutDefinitionError(
                f"records takes {parameter}, which hides what it takes; name each upstream asset as "
                "a positional and each param as a keyword-only parameter."
            )
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY or parameter.name in asked:
            continue
        if parameter.name == "context":
            raise FanoutDefinitionError(
                "records takes context, but knows nothing of Dagster: it gets upstream assets and params."
            )
        asset_in = declared.ins.get(parameter.name, parameter.name)
        if not isinstance(asset_in, dg.AssetIn):
            asset_in = dg.AssetIn(key=dg.AssetKey.from_coercible(getattr(asset_in, "key", asset_in)))
        upstream[parameter.name] = Upstream(hints.get(parameter.name, Any), asset_in)
    if unknown := [option for option in declared.ins if option not in upstream]:
        raise FanoutDefinitionError(
            f"ins names {', '.join(map(repr, unknown))}, accepted: the positional parameters of "
            f"records ({', '.join(upstream) or 'it has none'})."
        )
    return {**upstream, **_waited_for(declared, upstream)}


def _waited_for(declared: Declared, upstream: Mapping[str, Upstream]) -> dict[str, Upstream]:
    """Return the assets of `deps`, whose values nothing takes.

    Raises:
        FanoutDefinitionError: one of them is no asset, or is taken already.
    """
    taken = {each.asset_in.key: name for name, each in upstream.items()}
    waited_for: dict[str, Upstream] = {}
    for given in declared.deps:
        try:
            dep = dg.AssetDep.from_coercible(given)
        except Exception as error:
            raise FanoutDefinitionError(
                f"deps: {given!r} is a {type(given).__name__}, accepted: assets, AssetSpecs, AssetDeps and asset keys."
            ) from error
        if (name := taken.get(dep.asset_key)) is not None:
            raise FanoutDefinitionError(
                f"deps names {dep.asset_key.to_user_string()!r}, whose value records takes as {name!r}: leave it out."
            )
        name = f"after_{dep.asset_key.to_python_identifier()}"
        asset_in = dg.AssetIn(
            key=dep.asset_key, partition_mapping=dep.partition_mapping, dagster_type=dg.Nothing
        )
        waited_for[name] = Upstream(Any, asset_in)
    return waited_for
