"""`build_fanout_asset`: what it accepts, what it refuses when it is built, and what Dagster sees of it."""

import functools
from collections.abc import Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, TypedDict

import dagster as dg
import pandas as pd
import pytest

from project_fanout.engine import FanoutPolicy, Record, Unit
from project_fanout.engine.errors import FanoutDefinitionError, NoPartitionError
from project_fanout.orchestration import UnitPoolResource, build_fanout_asset
from project_fanout_tests.engine import runner_stages as stages
from project_fanout_tests.engine.pools.support import NothingLeft
from project_fanout_tests.orchestration import odd_names
from project_fanout_tests.orchestration.support import (
    INLINE,
    mapped_steps,
    materialization,
    materialize,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal


def build(**options: Any) -> dg.AssetsDefinition:
    """Return an asset over `some_records` and `echo`, with *options*."""
    options = {"name": "fan", "records": stages.some_records, "stages": [stages.echo], **options}
    return build_fanout_asset(options.pop("name"), **options)


# Refused when built


def hides_upstream(*tables: Any) -> list[Record]:
    """Hide what it takes."""
    return []


def hides_params(**params: Any) -> list[Record]:
    """Hide what it takes."""
    return []


def wants_context(context: Any) -> list[Record]:
    """Want something of Dagster."""
    return []


def by_partition(*, partition_key: str) -> list[Record]:
    """Return the partition's record."""
    return [Record(partition_key, [Unit("u", partition_key)])]


PARTITIONED = {
    "records": by_partition,
    "partitions_def": dg.StaticPartitionsDefinition(["2026-01", "2026-02"]),
}


def unreadable(*, price: "Decimal") -> list[Record]:
    """Name a type that is not there when it runs."""
    return []


def other_count(unit: Unit, *, count: str = "3") -> str:
    """Take a param of `some_records` as another type."""
    return count


class Scale(dg.ConfigurableResource):  # type: ignore[type-arg]  # its value is the resource itself
    """A number for stages."""

    by: int = 10

    def for_units(self) -> int:
        """Return what stages get."""
        return self.by


def scaled(unit: Unit, *, scale: int) -> int:
    """Return the length of the key, scaled."""
    return len(unit.key) * scale


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stages": []}, "stages is empty"),
        ({"stages": stages.echo}, "a function, accepted: a list of functions; write stages=[echo]."),
        ({"stages": "echo"}, "stages is 'echo', a str, accepted: a list of functions"),
        (
            {"policy": {"max_attempts": 3, "reuse": "always"}},
            "a dict, accepted: a FanoutPolicy; write policy=FanoutPolicy(max_attempts=3, reuse='always').",
        ),
        (
            {"policy": FanoutPolicy},
            "a type, accepted: a FanoutPolicy; write policy=FanoutPolicy(max_attempts=3).",
        ),
        ({"aggregate": "sum"}, "aggregate is 'sum', a str, accepted: a function of one argument, the table"),
        ({"aggregate": lambda table, other: table}, "missing a required argument: 'other'), accepted: a fun"),
        ({"aggregate": lambda: 1}, "too many positional arguments), accepted: a function of one argument"),
        ({"params": [("count", 1)]}, "params is [('count', 1)], a list, accepted: a mapping; write params={"),
        ({"ins": ["catalog"]}, "ins is ['catalog'], a list, accepted: a mapping"),
        ({"resources": "pool"}, "resources is 'pool', a str, accepted: a mapping"),
        (
            {"resources": {"scale": 5}, "stages": [scaled]},
            "resources: scale is 5, a int, accepted: a Configurabl",
        ),
        ({"resources": {"scale": UnitPoolResource()}, "stages": [scaled]}, "a method `for_units(self)`"),
        (
            {"resources": {"sacle": Scale()}, "stages": [scaled]},
            "names 'sacle', accepted: the keyword-only para",
        ),
        ({"stages": [lambda unit: 1]}, "lambda"),
        ({"stages": [functools.partial(stages.echo)]}, "not a function"),
        ({"stages": [stages.echo, other_count]}, "'count'"),
        ({"records": hides_upstream}, "*tables"),
        ({"records": hides_params}, "**params"),
        ({"records": wants_context}, "context"),
        ({"records": by_partition}, "give partitions_def"),
        ({**PARTITIONED, "backfill_policy": dg.BackfillPolicy.single_run()}, "backfill_policy"),
        ({**PARTITIONED, "backfill_policy": dg.BackfillPolicy.multi_run(3)}, "backfill_policy"),
        ({"records": unreadable}, "Decimal"),
        ({"records": None}, "give a function"),
        ({"records": [Record("r")]}, "give a function"),
        ({"params": {"cuont": 5}}, "'cuont', accepted: count, units"),
        ({"params": {"count": "many"}}, "count is 'many', accepted: int"),
        ({"ins": {"catalog": "catalog"}}, "ins names 'catalog'"),
    ],
)
def test_a_wrong_declaration_is_refused_when_built(options: dict[str, Any], said: str) -> None:
    """By one kind of error, which names the asset and what is wrong."""
    with pytest.raises(FanoutDefinitionError) as error:
        build(**options)
    assert str(error.value).startswith("build_fanout_asset('fan'): ")
    assert said in str(error.value)


# Records functions


def typed_for_checkers_alone(*, count: int = 1) -> "Iterator[Record]":
    """Yield one record; what this returns is named by an import that is not there when it runs."""
    yield Record("r", [Unit("u", count)])


def price_of(unit: Unit) -> "Decimal":
    """Return what is in the payload."""
    result: Decimal = unit.payload
    return result


def test_a_stage_may_have_any_name_that_python_accepts() -> None:
    """Also one that Dagster does not, or that is taken in the graph; ordinary ones stay as they are."""
    by_name = {stage.__name__: stage for stage in odd_names.STAGES}
    asset = build(stages=[by_name[name] for name in odd_names.NAMES], params={"count": 1, "units": 1})
    assert table(asset)["result"].tolist() == [odd_names.NAMES]
    graph: Any = asset.node_def
    ops = [node.name for node in graph.node_named("record").definition.nodes]
    assert len(ops) == len(set(ops)) == len(odd_names.NAMES)
    assert {"process_record", "Weigh", "weigh", "weigh_stage_12"} <= set(ops)
    assert [name for name in ops if name.startswith("obrabot")]


class Numbers:
    """An object that can be called."""

    def __call__(self, *, first: int = 7) -> list[Record]:
        """Return one record."""
        return [Record("r", [Unit("u", first)])]


def upstream_by_position(numbers: Any, /, *, extra: int = 1) -> list[Record]:
    """Return a record with the sum of an upstream asset."""
    return [Record("r", [Unit("u", int(sum(numbers)) + extra)])]


@pytest.mark.parametrize(
    ("records", "results"),
    [
        (stages.some_records, [0, 1, 2, 3, 4, 5]),
        (functools.partial(stages.some_records, count=1), [0, 1]),
        (lambda: [Record("r", [Unit("u", "lambda")])], ["lambda"]),
        (lambda: (Record("r", [Unit("u", "tuple")]),), ["tuple"]),
        (typed_for_checkers_alone, [1]),
        (Numbers(), [7]),
        (Numbers().__call__, [7]),
    ],
)
def test_records_may_be_any_callable(records: Any, results: list[Any]) -> None:
    """It runs in the run's process, so unlike a stage it need not be importable."""
    assert table(build(records=records, stages=[price_of]))["result"].tolist() == results


@pytest.mark.parametrize("found", [None, 5, "text", Record("r"), {"a": 1}, [("a", [])], ["text"]])
def test_what_is_no_record_is_refused(found: Any) -> None:
    """With what it is, and what to return."""
    with pytest.raises(Exception, match=r"Record\(key, units\)"):
        materialize(build(records=lambda: found))


@pytest.mark.parametrize("found", [Record("r"), {"a": Record("a")}], ids=["one record", "a dict of records"])
def test_what_is_no_list_of_records_is_refused(found: Any) -> None:
    """By the name of what it is, with the way out."""
    kind = type(found).__name__
    with pytest.raises(Exception, match=rf", a {kind}: return a list of Record\(key, units\), or yield them"):
        materialize(build(records=lambda: found))


def test_a_stage_that_returns_units_is_told_to_return_a_fanout() -> None:
    """The row's error says what to write in place of a list of units."""
    frame = table(
        build(records=lambda: [Record("r", [Unit("u")])], stages=[stages.list_of_units, stages.echo]),
        policy={"max_failed_ratio": 1},
    )
    (error,) = frame["error"]
    assert error.startswith(
        "UnsupportedValueError: result[0] is a Unit, which cannot travel between processes: "
    )
    assert "return Fanout([Unit(key, payload), ...])" in error


def test_an_error_of_the_library_has_one_name_in_every_row() -> None:
    """Whether a stage made the mistake itself or what it returned is one: the class, without its module."""
    records = [Record("r", [Unit("u")])]
    found = {
        stage.__name__: table(
            build(records=lambda: records, stages=[stage, *more]), policy={"max_failed_ratio": 1}
        )["error"].tolist()
        for stage, more in (
            (stages.twins, [stages.echo]),
            (stages.same_children, []),
        )
    }
    assert set(found) == {"twins", "same_children"}
    for (error,) in found.values():
        assert error.startswith("InvalidRecordError: ")


# Upstream assets


@dg.asset
def numbers() -> list[int]:
    """Return some numbers."""
    return [1, 2, 3]


@dg.asset(key_prefix=["deep", "down"])
def weights() -> dict[str, int]:
    """Return some factors."""
    return {"a": 10}


def from_both(numbers: Sequence[int], factors: Mapping[str, int], *, power: int = 1) -> list[Record]:
    """Return a record per number."""
    return [Record(str(n), [Unit("u", n * factors["a"] ** power)]) for n in numbers]


@pytest.mark.parametrize(
    "where",
    [dg.AssetKey(["deep", "down", "weights"]), ["deep", "down", "weights"], weights, "AssetIn"],
    ids=["key", "path", "asset", "AssetIn"],
)
def test_positional_parameters_are_upstream_assets(where: Any) -> None:
    """Named like them, or by `ins`: a key, a path, the asset itself or an AssetIn."""
    asset_in = dg.AssetIn(key=["deep", "down", "weights"]) if where == "AssetIn" else where
    asset = build(records=from_both, ins={"factors": asset_in})
    assert set(asset.dependency_keys) == {numbers.key, weights.key}
    frame = table(asset, numbers, weights, params={"power": "2"})
    assert frame["result"].tolist() == [100, 200, 300]


class Row(TypedDict):
    """What checkers alone know."""

    a: int


@pytest.mark.parametrize(
    "annotation",
    [
        Iterable[int],
        Annotated[list[int], "numbers"],
        list[int] | dict[str, int],
        Literal["none"] | list[int],
        list[Row] | None,
        Row,
        Sized,
        NewType("Numbers", list),
    ],
    ids=str,
)
def test_an_upstream_asset_may_be_annotated_as_python_allows(annotation: Any) -> None:
    """Also with what Dagster cannot check: a records function knows nothing of Dagster."""

    def total(numbers: Any) -> list[Record]:
        return [Record("all", [Unit("sum", sum(numbers))])]

    total.__annotations__["numbers"] = annotation
    assert table(build(records=total), numbers)["result"].tolist() == [6]


def test_an_upstream_asset_of_another_type_is_refused() -> None:
    """By Dagster, where the annotation, or the AssetIn, says what it has to be."""

    def total(numbers: dict[str, int]) -> list[Record]:
        return [Record("all", [Unit("keys", len(numbers))])]

    with pytest.raises(dg.DagsterTypeCheckDidNotPass, match='input "numbers"'):
        table(build(records=total), numbers)
    anything = dg.AssetIn("numbers", dagster_type=dg.Any)  # type: ignore[arg-type]  # Dagster's own word for it
    assert table(build(records=total, ins={"numbers": anything}), numbers)["result"].tolist() == [3]


class ColumnsOf(dg.IOManager):
    """Gives the columns that are asked for."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Store nothing."""

    def load_input(self, context: dg.InputContext) -> list[int]:
        """Return a number per column."""
        return [len(column) for column in (context.definition_metadata or {})["columns"]]


def test_an_asset_in_says_how_an_upstream_asset_is_loaded() -> None:
    """By its input manager and its metadata, as for `@asset`."""
    asset_in = dg.AssetIn("numbers", input_manager_key="columns", metadata={"columns": ["a", "bc"]})
    asset = build(records=upstream_by_position, ins={"numbers": asset_in})
    assert table(asset, numbers, resources={**INLINE, "columns": ColumnsOf()})["result"].tolist() == [4]


def test_an_upstream_asset_may_be_positional_only() -> None:
    """As Python allows."""
    assert table(build(records=upstream_by_position), numbers)["result"].tolist() == [7]


def test_a_fanout_feeds_other_assets() -> None:
    """Its table is an asset like any other, for plain assets and for other fan-outs, in one job."""

    def per_unit(fan: pd.DataFrame) -> list[Record]:
        return [Record(row.unit_key, [Unit("u", row.result)]) for row in fan.itertuples()]

    @dg.asset
    def total(fan: pd.DataFrame, second: pd.DataFrame) -> int:
        return int(fan["result"].sum() + second["result"].sum())

    second = build_fanout_asset("second", records=per_unit, stages=[stages.echo])
    result = materialize(build(), second, total)
    assert result.output_for_node("total") == 2 * sum(range(6))
    assert len(mapped_steps(result)) == 3 + 6


# Partitions


@pytest.mark.parametrize("positional", [False, True])
def test_a_partitioned_asset_passes_its_key(positional: bool) -> None:
    """If the records function names it; it is no param."""

    def by_position(partition_key: str, numbers: list[int]) -> list[Record]:
        return [Record(partition_key, [Unit("u", f"{partition_key} {len(numbers)}")])]

    asset = build(
        records=by_position if positional else by_partition,
        partitions_def=dg.StaticPartitionsDefinition(["2026-01", "2026-02"]),
    )
    others = [numbers] if positional else []
    frame = table(asset, *others, partition_key="2026-02")
    assert frame["result"].tolist() == ["2026-02 3" if positional else "2026-02"]


def test_a_partitioned_asset_may_be_backfilled_key_by_key() -> None:
    """With the policy that Dagster calls multi_run, one partition in each."""
    asset = build(**PARTITIONED, backfill_policy=dg.BackfillPolicy.multi_run())
    assert table(asset, partition_key="2026-02")["result"].tolist() == ["2026-02"]


def test_a_run_over_several_partitions_finds_the_records_of_all() -> None:
    """If the records function does not ask for the one key that such a run has not got."""
    asset = build(
        partitions_def=PARTITIONED["partitions_def"], backfill_policy=dg.BackfillPolicy.single_run()
    )
    whole = {
        "dagster/asset_partition_range_start": "2026-01",
        "dagster/asset_partition_range_end": "2026-02",
    }
    assert len(table(asset, tags=whole)) == 6


def test_a_partitioned_asset_need_not_know_its_key() -> None:
    """And then gets nothing."""
    asset = build(partitions_def=dg.StaticPartitionsDefinition(["a"]))
    assert len(table(asset, partition_key="a")) == 6


def test_a_run_without_a_partition_is_refused() -> None:
    """Its result would be of no partition: the error says so before records are looked for, and how to get one."""
    asset = build(**PARTITIONED)
    with pytest.raises(
        NoPartitionError, match=r"partitioned, and this run names no partition.*partition_key="
    ):
        dg.materialize_to_memory([asset])


def test_each_partition_has_its_own_result_of_the_check(tmp_path: Path) -> None:
    """What one partition lacks is not hidden by the next one's success."""
    asset = build(**PARTITIONED, stages=[stages.mark], policy=FanoutPolicy(max_failed_ratio=1.0))
    found = {}
    for partition, fail in (("2026-01", "u"), ("2026-02", "")):
        result = materialize(asset, partition_key=partition, params={"folder": str(tmp_path), "fail": fail})
        (evaluation,) = result.get_asset_check_evaluations()
        found[evaluation.partition] = evaluation.passed
    assert found == {"2026-01": False, "2026-02": True}


# What Dagster sees


def test_everything_that_dagster_shows_is_set() -> None:
    """Key, group, owners, tags, kinds, metadata, description, code version, automation and checks."""
    asset = build(
        key_prefix=["lake", "raw"],
        group_name="group",
        owners=["team:data"],
        tags={"tier": "1"},
        kinds={"python"},
        metadata={"origin": "here"},
        code_version="7",
        automation_condition=dg.AutomationCondition.eager(),
    )
    key = dg.AssetKey(["lake", "raw", "fan"])
    spec = asset.get_asset_spec(key)
    assert spec.group_name == "group"
    assert list(spec.owners) == ["team:data"]
    assert spec.tags["tier"] == "1"
    assert spec.kinds == {"python"}
    assert spec.metadata["origin"] == "here"
    assert spec.description == stages.some_records.__doc__
    assert spec.code_version == "7"
    assert spec.automation_condition == dg.AutomationCondition.eager()
    assert asset.check_keys == {dg.AssetCheckKey(key, "all_units_succeeded")}


def test_an_asset_with_a_prefix_runs_under_its_whole_name() -> None:
    """In the run config too."""
    asset = build(key_prefix="lake", params={"count": 1})
    result = materialize(asset, policy={"strategy": "sequential"})
    assert asset.node_def.name == "lake__fan"
    assert result.asset_materializations_for_node("lake__fan")[0].asset_key == dg.AssetKey(["lake", "fan"])


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"group_names_by_key": {dg.AssetKey("fan"): "group"}}, ["fan"]),
        ({"asset_key_replacements": {dg.AssetKey("fan"): dg.AssetKey(["lake", "fan"])}}, ["lake", "fan"]),
    ],
)
def test_a_copy_with_another_group_or_key_works_the_same(change: dict[str, Any], key: list[str]) -> None:
    """As `load_assets_from_modules(group_name=..., key_prefix=...)` makes them."""
    copy = build().with_attributes(**change)
    defs = dg.Definitions(assets=[copy], resources=INLINE)
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process()
    (check,) = result.get_asset_check_evaluations()
    assert check.asset_key == dg.AssetKey(key)
    assert check.passed


def test_resources_may_be_bound_by_hand() -> None:
    """`dg.with_resources` replaces the asset's own pool as Definitions do."""
    (bound,) = dg.with_resources([build()], INLINE)
    assert dg.materialize([bound]).success


def test_two_fanouts_share_a_job_and_a_pool() -> None:
    """Their ops have names of their own, and their run config does not mix."""
    one, two = build(name="one"), build(name="two", stages=[stages.split, stages.echo])
    result = dg.materialize_to_memory(
        [one, two],
        resources=INLINE,
        run_config={
            "ops": {
                "one": {"config": {"params": {"count": 1}}},
                "two": {"config": {"params": {"count": 2, "width": 3}}},
            }
        },
    )
    assert result.output_for_node("one")["result"].tolist() == [0, 1]
    assert result.output_for_node("two")["result"].tolist() == [0, 3, 6, 9]


def test_hooks_op_tags_and_pool_reach_the_steps() -> None:
    """Hooks all of them; tags and the concurrency pool those that process records."""
    seen = []

    @dg.success_hook
    def note(context: dg.HookContext) -> None:
        seen.append(context.step_key)

    asset = build(hooks={note}, op_tags={"database": "small"}, pool="database", params={"count": 1})
    materialize(asset)
    assert len(seen) == 3
    graph: Any = asset.node_def
    record: Any = graph.node_named("record").definition
    op = record.node_named("process_record").definition
    assert op.tags["database"] == "small"
    assert op.pool == "database"
    assert not graph.node_named("collect_records").definition.pool


def test_steps_may_be_retried(tmp_path: Path) -> None:
    """`retry_policy` is for what is not a unit's failure, such as the records function's."""
    attempts = tmp_path / "attempts"
    attempts.mkdir()

    def flaky() -> list[Record]:
        done = len(list(attempts.iterdir()))
        (attempts / str(done)).touch()
        if not done:
            raise ConnectionError("try again")
        return [Record("r", [Unit("u", done)])]

    result = materialize(build(records=flaky, retry_policy=dg.RetryPolicy(max_retries=1)))
    assert result.output_for_node("fan")["result"].tolist() == [1]


class Shelf(dg.IOManager):
    """Keeps what it is given, with the name of the step."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Keep a value."""
        self.kept[f"{context.step_key}:{context.name}:{context.mapping_key}"] = obj

    def load_input(self, context: dg.InputContext) -> Any:
        """Return a value."""
        up = context.upstream_output
        assert up
        return self.kept[f"{up.step_key}:{up.name}:{up.mapping_key}"]


def test_the_value_and_the_steps_may_go_to_different_io_managers() -> None:
    """A warehouse for the table, another store for what travels between steps."""
    warehouse, steps = Shelf(), Shelf()
    asset = build(io_manager_key="warehouse", step_io_manager_key="steps", params={"count": 2})
    result = dg.materialize([asset], resources={**INLINE, "warehouse": warehouse, "steps": steps})
    assert result.success
    (frame,) = warehouse.kept.values()
    assert frame["result"].tolist() == [0, 1, 2, 3]
    assert len(steps.kept) == 2 + 1 + 2  # dynamic outputs, the manifest, two records


# Aggregates


def as_number(frame: pd.DataFrame) -> int:
    """Return a value that is no table."""
    return int(frame["result"].sum())


def as_nothing(frame: pd.DataFrame) -> None:
    """Return nothing."""


def as_result(frame: pd.DataFrame) -> dg.MaterializeResult[int]:
    """Return a value with metadata, tags, a data version and a check."""
    return dg.MaterializeResult(
        value=len(frame),
        metadata={"mean": 2.5},
        tags={"kind": "sum"},
        data_version=dg.DataVersion("v1"),
        check_results=[dg.AssetCheckResult(passed=False, metadata={"why": "test"})],
    )


def as_metadata_only(frame: pd.DataFrame) -> dg.MaterializeResult[Any]:
    """Return metadata, and the table as it is."""
    return dg.MaterializeResult(metadata={"mean": 2.5})


@pytest.mark.parametrize(("aggregate", "value"), [(as_number, 15), (as_nothing, None), (len, 6)])
def test_the_value_is_what_aggregate_returns(aggregate: Any, value: Any) -> None:
    """Any value; the counts stay in the metadata."""
    asset = build(aggregate=aggregate)
    result = materialize(asset)
    assert result.output_for_node("fan") == value
    assert materialization(result, asset)["units"] == 6


def test_aggregate_may_return_a_result_with_checks() -> None:
    """Metadata joins the asset's own, and the one check of the user need not be named."""
    spec = dg.AssetCheckSpec("mine", asset="fan")
    asset = build(aggregate=as_result, check_specs=[spec])
    result = materialize(asset)
    assert result.output_for_node("fan") == 6
    metadata = materialization(result, asset)
    assert (metadata["mean"], metadata["succeeded"]) == (2.5, 6)
    (event,) = result.asset_materializations_for_node("fan")
    assert event.tags is not None
    assert event.tags["kind"] == "sum"
    assert event.tags["dagster/data_version"] == "v1"
    checks = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert checks == {"all_units_succeeded": True, "mine": False}


def test_a_result_without_a_value_keeps_the_table() -> None:
    """Only its metadata was meant."""
    asset = build(aggregate=as_metadata_only)
    result = materialize(asset)
    assert len(result.output_for_node("fan")) == 6
    assert materialization(result, asset)["mean"] == 2.5


@pytest.mark.parametrize("value", [dg.Output(5), dg.AssetCheckResult(passed=True)], ids=["Output", "check"])
def test_what_is_no_value_is_not_stored_as_one(value: Any) -> None:
    """What an `@asset` may return beside a value is refused, with what to write instead."""
    with pytest.raises(FanoutDefinitionError, match=r"write `return dg\.MaterializeResult"):
        materialize(build(aggregate=lambda table: value))


def test_a_resource_fills_the_parameter_that_is_named_like_it() -> None:
    """With what its `for_units()` returns; it may be configured at launch, and Definitions replace it."""
    options: dict[str, Any] = {"stages": [scaled], "params": {"count": 1, "units": 1}}
    asset = build(resources={"scale": Scale()}, **options)
    assert table(asset)["result"].tolist() == [40]
    assert table(asset, resources={**INLINE, "scale": Scale(by=100)})["result"].tolist() == [400]
    at_launch = build(resources={"scale": Scale.configure_at_launch()}, **options)
    config = {"resources": {"scale": {"config": {"by": 3}}}}
    assert table(at_launch, run_config=config)["result"].tolist() == [12]


def test_an_aggregate_that_raises_fails_the_run() -> None:
    """Nothing is materialised."""

    def broken(frame: pd.DataFrame) -> None:
        raise ArithmeticError("cannot add")

    result = materialize(build(aggregate=broken), raise_on_error=False)
    assert not result.success
    assert not result.get_asset_materialization_events()


@pytest.mark.slow
def test_a_policy_may_be_given_to_the_pool_too() -> None:
    """The pool's size is the run's, the policy's cap the asset's: both are kept. No worker outlives the run."""
    before = NothingLeft()
    asset = build(policy=FanoutPolicy(max_workers=1, strategy="parallel"))
    frame = table(asset, resources={"unit_pool": UnitPoolResource(max_workers=1)})
    assert frame["result"].tolist() == list(range(6))
    before.check()
