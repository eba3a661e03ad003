"""Bad input works, or is refused by an error that names the value, before a unit runs: 1,000 tries, 10,000 at night."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from project_fanout.engine import FanoutPolicy, Record, Unit
from project_fanout.engine.errors import (
    FanoutDefinitionError,
    FanoutError,
    InvalidRecordError,
)
from project_fanout.engine.ledger import Ledger, LedgerFilter
from project_fanout.engine.values import to_json
from project_fanout.orchestration import LedgerResource, UnitPoolResource, build_fanout_asset
from project_fanout.orchestration.keys import mapping_key
from project_fanout_tests.engine.runner_stages import echo
from project_fanout_tests.nightly import examples

MANY = settings(
    max_examples=examples(225, at_night=2_250),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
FEWER = settings(MANY, max_examples=examples(100, at_night=1_000))
FEW = settings(MANY, max_examples=examples(10, at_night=100))

TEXTS = st.text(max_size=20) | st.sampled_from(
    ["", " ", "\0", "\ud800", "a\udfff", "class", "../x", "k" * 300]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 2**63, 10**400])
    | st.floats()
    | TEXTS
    | st.binary(max_size=5)
    | st.just(object())
    | st.sampled_from([Unit("u"), Record("r"), Path("x"), print])
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=8,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)

given_records: list[Any] = []


def records(
    *,
    number: int = 1,
    name: str = "a",
    ratio: float = 0.5,
    on: bool = True,
    sizes: list[int] | None = None,
    kind: Literal["one", "two"] = "one",
    table: dict[str, int] | None = None,
) -> Iterator[Any]:
    """Yield what the test has put into `given_records`."""
    yield from given_records


bad_input = build_fanout_asset("bad_input", records=records, stages=[echo])
job = dg.Definitions([bad_input], jobs=[dg.define_asset_job("bad_input_job")]).resolve_job_def(
    "bad_input_job"
)
PARAMS = ("number", "name", "ratio", "on", "sizes", "kind", "table")
POLICY = tuple(each.name for each in fields(FanoutPolicy))


def attempt(call: Callable[[], Any], *errors: type[Exception]) -> tuple[Any, str | None]:
    """Return what *call* returns, and the text of its refusal; any other error fails the test."""
    try:
        return call(), None
    except errors as error:
        return None, str(error)


@MANY
@given(key=ANYTHING, kind=st.sampled_from([Unit, Record]))
def test_keys(key: Any, kind: type) -> None:
    """Any non-empty text is a key and has a mapping key; anything else is refused by value."""
    made, refusal = attempt(lambda: kind(key), InvalidRecordError)
    if refusal is None:
        assert made.key == key
        assert len(mapping_key(made.key)) <= 63
    else:
        assert repr(key) in refusal
        assert not isinstance(key, str) or not key or any("\ud800" <= each <= "\udfff" for each in key)


@MANY
@given(name=st.sampled_from(POLICY), value=ANYTHING)
def test_policies(name: str, value: Any) -> None:
    """A field of the policy takes a value, or refuses it with its own name and what it accepts."""
    policy, refusal = attempt(lambda: FanoutPolicy(**{name: value}), FanoutDefinitionError)
    if refusal is None:
        assert getattr(policy, name) == value
    else:
        assert f"{name} is {value!r}, accepted: " in refusal


@MANY
@given(payload=ANYTHING)
def test_payloads(payload: Any) -> None:
    """A payload is JSON, or the error says which part of it is not."""
    text, refusal = attempt(lambda: to_json(payload, "payload"), TypeError)
    if refusal is None:
        assert to_json(json.loads(text), "payload") == text
    else:
        assert refusal.startswith("payload")


@MANY
@given(units=ANYTHING)
def test_units(units: Any) -> None:
    """The units of a record are units with keys of their own, or the error names record and value."""
    record, refusal = attempt(lambda: Record("r", units), InvalidRecordError)
    if refusal is None:
        assert all(isinstance(unit, Unit) for unit in record.units)
    else:
        assert "record 'r'" in refusal


@FEWER
@given(
    section=st.sampled_from(["params", "policy"]),
    name=st.sampled_from([*PARAMS, *POLICY]) | TEXTS,
    value=JSON,
)
def test_run_config(section: str, name: str, value: Any) -> None:
    """Run config is taken, or refused with the name of what is wrong; no step has started then."""
    config = {"ops": {"bad_input": {"config": {section: {name: value}}}}}
    taken, refusal = attempt(
        lambda: dg.validate_run_config(job, config), FanoutError, dg.DagsterInvalidConfigError
    )
    assert taken if refusal is None else name in refusal or repr(name)[1:-1] in refusal


def whole_run(folder: Path, found: Any) -> Any:
    """Run the asset over *found*, with a ledger in *folder*."""
    given_records[:] = [found]
    return dg.materialize(
        [bad_input],
        resources={
            "unit_pool": UnitPoolResource(kind="inline"),
            "ledger": LedgerResource(url=str(folder / "ledger.db")),
        },
        raise_on_error=False,
    )


@FEW
@given(
    found=ANYTHING
    | st.builds(Record, st.just("r"), st.lists(st.builds(Unit, st.just("u"), ANYTHING), max_size=1))
)
def test_records_of_whole_runs(tmp_path_factory: pytest.TempPathFactory, found: Any) -> None:
    """A run over such records materialises, or fails with our error and has written nothing."""
    folder = tmp_path_factory.mktemp("run")
    result = whole_run(folder, found)
    if result.success:
        assert isinstance(found, Record)
        return
    errors = [
        event.event_specific_data.error.cause or event.event_specific_data.error
        for event in result.all_events
        if event.is_step_failure and event.event_specific_data.error
    ]
    assert any("InvalidRecordError" in (error.cls_name or "") for error in errors), errors
    assert not result.asset_materializations_for_node("bad_input")
    with suppress(FanoutError), Ledger(folder / "ledger.db", create=False) as ledger:
        assert ledger.entries(LedgerFilter()) == []
