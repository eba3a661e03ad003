"""Assets that a fan-out waits for, and runs of several partitions."""

from typing import Any

import dagster as dg
import pytest

from project_fanout.engine import Record, Unit
from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.orchestration import build_fanout_asset
from project_fanout_tests.orchestration.support import INLINE, materialize

DAYS = dg.StaticPartitionsDefinition(["mon", "tue", "wed"])


def double(unit: Unit[int]) -> int:
    return unit.payload * 2


def one() -> list[Record]:
    return [Record("a", [Unit("1", 1)])]


def of_table(table: int) -> list[Record]:
    return [Record("a", [Unit("1", table)])]


def of_days(*, partition_keys: list[str]) -> list[Record]:
    return [Record(day, [Unit("1", len(day))]) for day in partition_keys]


@dg.asset
def table() -> int:
    return 7


def test_a_fan_out_waits_for_assets_whose_values_it_does_not_take() -> None:
    """They store their values themselves, as a dbt model does; the lineage shows them beside those that it takes."""
    order = []

    @dg.asset
    def model() -> dg.MaterializeResult[None]:
        order.append("model")
        return dg.MaterializeResult()

    def then(table: int) -> list[Record]:
        order.append("records")
        return of_table(table)

    fanned = build_fanout_asset(
        "fanned", records=then, stages=[double], deps=[model, dg.AssetSpec("elsewhere")]
    )
    assert {key.to_user_string() for key in fanned.dependency_keys} == {"table", "model", "elsewhere"}
    result = materialize(fanned, table, model, dg.AssetSpec("elsewhere"))
    assert result.output_for_node("fanned")["result"].tolist() == [14]
    assert order == ["model", "records"]


@pytest.mark.parametrize(
    ("deps", "reason"),
    [
        ("model", "deps is 'model', accepted: a list of assets"),
        ([5], "deps: 5 is a int, accepted: assets, AssetSpecs, AssetDeps and asset keys"),
        (["table"], "deps names 'table', whose value records takes as 'table': leave it out"),
    ],
    ids=["a text", "a number", "taken already"],
)
def test_deps_that_cannot_be_are_refused(deps: Any, reason: str) -> None:
    """When the asset is defined."""
    with pytest.raises(FanoutDefinitionError, match=reason):
        build_fanout_asset("fanned", records=of_table, stages=[double], deps=deps)


def fanned_days(**options: Any) -> dg.AssetsDefinition:
    return build_fanout_asset("days", records=of_days, stages=[double], partitions_def=DAYS, **options)


def test_a_run_of_several_partitions_knows_them_all() -> None:
    """As a backfill with a single run makes one: `partition_keys` is the list of its partitions."""
    result = dg.materialize(
        [fanned_days(backfill_policy=dg.BackfillPolicy.single_run())],
        resources={**INLINE, "io_manager": dg.InMemoryIOManager()},
        tags={
            "dagster/asset_partition_range_start": "mon",
            "dagster/asset_partition_range_end": "tue",
        },
    )
    assert result.output_for_node("days")["record_key"].tolist() == ["mon", "tue"]
    assert {event.partition for event in result.asset_materializations_for_node("days.collect_records")} == {
        "mon",
        "tue",
    }


def test_a_run_of_one_partition_knows_it_as_the_only_one() -> None:
    """The same function serves both."""
    result = materialize(fanned_days(), partition_key="wed")
    assert result.output_for_node("days")["record_key"].tolist() == ["wed"]


def test_without_partitions_there_are_none_to_ask_for() -> None:
    """Said when the asset is defined."""
    with pytest.raises(
        FanoutDefinitionError, match="records takes partition_keys, but the asset has no part"
    ):
        build_fanout_asset("days", records=of_days, stages=[double])
