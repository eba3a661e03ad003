"""The three kinds of fan-out assets refuse what is declared wrongly in the same words."""

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.forks import build_fork_asset, build_request_asset
from project_fanout.orchestration import build_fanout_asset
from project_fanout_tests.forks.fork_stages import double

FACTORIES: dict[str, Callable[..., Any]] = {
    "build_fanout_asset": lambda stages, **options: build_fanout_asset(
        "it", records=no_records, stages=stages, **options
    ),
    "build_fork_asset": lambda stages, **options: build_fork_asset("it", actions=stages, **options),
    "build_request_asset": lambda stages, **options: build_request_asset("it", actions=stages, **options),
}


def no_records() -> list[Any]:
    """Return no record."""
    return []


@pytest.mark.parametrize(
    "wrong",
    [
        {"policy": {"max_attempts": 3}},
        {"policy": "fast"},
        {"resources": {"x": 5}},
        {"resources": ["x"]},
        {"params": [1]},
        {"ins": "image_catalog"},
        {"ins": {"elsewhere": "image_catalog"}},
        {"stages": [lambda unit: unit]},
        {"stages": [double, 5]},
    ],
    ids=lambda wrong: " ".join(wrong),
)
def test_every_kind_of_asset_refuses_it_in_the_same_words(wrong: dict[str, Any]) -> None:
    """A policy that is a dict, a resource without for_units, a lambda: one refusal, whichever asset it is for."""
    said = set()
    for factory, build in FACTORIES.items():
        with pytest.raises(FanoutDefinitionError) as refused:
            build(**{"stages": [double], **wrong})
        text = str(refused.value)
        assert text.startswith(f"{factory}('it'): ")
        said.add(text.removeprefix(f"{factory}('it'): ").replace("as_given", "records"))
    assert len(said) == 1, said


@pytest.mark.parametrize("build", FACTORIES.values(), ids=FACTORIES)
def test_every_kind_of_asset_takes_the_same_options(build: Callable[..., Any]) -> None:
    """Group, owners, kinds, tags, key prefix, partitions, code version, pool and IO managers mean the same for each."""
    asset = build(
        [double],
        group_name="group",
        key_prefix=["a", "b"],
        owners=["team:data"],
        kinds={"python"},
        tags={"tier": "gold"},
        metadata={"source": "test"},
        description="What it is.",
        partitions_def=dg.StaticPartitionsDefinition(["x", "y"]),
        code_version="7",
        retry_policy=dg.RetryPolicy(max_retries=2),
        op_tags={"database": "one"},
        pool="license",
        io_manager_key="results",
        step_io_manager_key="steps",
    )
    key = dg.AssetKey(["a", "b", "it"])
    spec = asset.specs_by_key[key]
    assert (spec.group_name, list(spec.owners), spec.code_version) == ("group", ["team:data"], "7")
    assert spec.description == "What it is."
    assert (spec.kinds, spec.tags["tier"], spec.metadata["source"]) == ({"python"}, "gold", "test")
    assert asset.partitions_def is not None
    node = asset.node_def.node_named("record").definition.node_named("process_record")
    assert node.definition.pool == "license"
    assert node.tags["database"] == "one"
    assert {"results", "steps", "unit_pool", "ledger"} <= set(asset.required_resource_keys)
