"""Values on their whole way: to a worker, between stages, through the ledger, and from an earlier run."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from project_fanout.engine import FanoutPolicy, InlinePool, ProcessPool
from project_fanout.engine.errors import DamagedValueError
from project_fanout.engine.ledger import Ledger, LedgerFilter, LedgerScope
from project_fanout.engine.memory import LedgerMemory
from project_fanout.engine.stages import describe_stage
from project_fanout.engine.tally import Tally
from project_fanout.engine.values import ValueStore
from project_fanout_tests.engine.values import array_stages
from project_fanout_tests.engine.values import value_stages as stages
from project_fanout_tests.engine.values.ways import FEW, LISTS, check_ways, travel


@pytest.fixture(scope="module")
def process_pool() -> Iterator[ProcessPool]:
    """Two workers for all tests of this module."""
    with ProcessPool(2) as pool:
        yield pool


@FEW
@given(LISTS)
def test_values_travel_through_processes_and_sqlite(
    tmp_path: Path, process_pool: ProcessPool, values: list[Any]
) -> None:
    """To a worker, to the next stage, into an SQLite ledger, and from there to a resumed run and another one."""
    check_ways(values, process_pool, tmp_path, str(tmp_path / "ledger.db"))


@FEW
@given(LISTS)
def test_values_travel_through_postgres(tmp_path: Path, postgres_url: str, values: list[Any]) -> None:
    """The same with a ledger in PostgreSQL, and units that run inline."""
    check_ways(values, InlinePool(), tmp_path, postgres_url)


def test_a_worker_with_plain_data_imports_nothing_for_it() -> None:
    """JSON in, JSON out: no numpy, pandas, pyarrow, pydantic, and not even the library for the other types."""
    with ProcessPool(1) as pool:
        (outcome,) = travel([{"text": "ü", "of": [1, None, 2.5]}], [stages.count_modules], pool)
    assert outcome.result == []


@pytest.mark.parametrize(
    ("stage", "payload", "said"),
    [
        (
            stages.describe_order,
            stages.Order(7, dt.date(2024, 1, 31), stages.Address("Ulm", 89073)),
            ["Order", "Address", "Ulm", "2024-01-31"],
        ),
        (
            stages.describe_order,
            {"number": 7, "placed": "2024-01-31", "address": {"city": "Ulm", "zip_code": "89073"}},
            ["Order", "Address", "Ulm", "2024-01-31"],
        ),
        (stages.describe_orders, [{"number": 1, "placed": "2024-01-31", "address": ["Ulm", 1]}] * 0, []),
        (stages.describe_point, stages.Point(1.5, 2.0), ["Point", "1.5"]),
        (stages.describe_row, stages.Row(name="a", size=1), ["dict", "a"]),
        (stages.describe_size, stages.Size.SMALL, ["Size", "SMALL"]),
        (stages.describe_text, "x", ["str", "x"]),
        (array_stages.describe_array, np.zeros(2), ["ndarray", "float64"]),
        (array_stages.describe_array_or_none, np.zeros(2), ["ndarray"]),
        (array_stages.describe_array_or_none, None, ["NoneType"]),
        (array_stages.describe_sample, array_stages.Sample(np.zeros(2), 7), ["Sample", "ndarray", "7"]),
    ],
)
def test_a_stage_gets_the_objects_that_it_annotates(
    process_pool: ProcessPool, stage: Any, payload: Any, said: list[str]
) -> None:
    """`unit: Unit[Order]` gets an Order, made in the worker of the data that has travelled."""
    (outcome,) = travel([payload], [stage], process_pool)
    assert (outcome.error, outcome.result) == (None, said)


@pytest.mark.parametrize(
    ("stage", "payload", "said"),
    [
        (
            stages.describe_order,
            {"number": "seven", "placed": "2024-01-31", "address": {"city": "Ulm"}},
            "payload is no Order: payload.number is 'seven': Input should be a valid integer, unable to parse string "
            "as an integer; payload.address.zip_code is {'city': 'Ulm'}: Field required",
        ),
        (stages.describe_text, 1, "payload is 1, accepted: str, as the stage annotates its unit."),
        (stages.describe_size, "xl", "payload is no Size: payload is 'xl': Input should be 's'."),
    ],
)
def test_a_payload_that_does_not_fit_fails_its_unit(
    process_pool: ProcessPool, stage: Any, payload: Any, said: str
) -> None:
    """With field, value and reason, and without another attempt: it would not fit then either."""
    (outcome,) = travel([payload], [stage], process_pool, policy=FanoutPolicy(max_attempts=3))
    assert outcome.error is not None
    assert (outcome.status, outcome.attempts, outcome.error.type) == ("failed", 1, "InvalidPayloadError")
    assert outcome.error.message.startswith(said)


@pytest.mark.parametrize("kind", ["inline", "process"])
def test_a_stage_that_returns_nothing_that_travels_is_stopped_early(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    """Of 52 units that return a generator each ran at most once, and most of them not at all."""
    pool = InlinePool() if kind == "inline" else request.getfixturevalue("process_pool")
    policy = FanoutPolicy(max_attempts=3, retry_delay_s=0.0)
    ended = travel(range(52), [stages.make_generator], pool, policy=policy, folder=str(tmp_path))
    ran = [path.name.partition(".")[0] for path in tmp_path.iterdir()]
    assert len(ran) == len(set(ran))
    assert 10 <= len(ran) < 52
    assert {(outcome.status, outcome.attempts) for outcome in ended} == {("failed", 1)}
    assert len({str(outcome.error) for outcome in ended}) == 1


def test_a_stage_with_one_good_result_is_not_stopped(tmp_path: Path) -> None:
    """Results that cannot travel are then those units' own, however many there are."""
    tally = Tally()
    travel([1], [stages.echo], InlinePool(), tally=tally)
    tally.note_work(describe_stage(stages.make_generator).reference, in_vain=False)
    ended = travel(range(30), [stages.make_generator], InlinePool(), tally=tally, folder=str(tmp_path))
    assert len(ended) == 30


def test_large_values_travel_by_reference(tmp_path: Path, process_pool: ProcessPool) -> None:
    """Above `spill_bytes` they are files, once each; below they travel with the unit."""
    store = ValueStore(str(tmp_path / "values"), spill_bytes=10_000)
    large, small = {"text": "x" * 20_000}, {"text": "x" * 2_000}
    ended = travel([large, small, large, (large,)], [stages.echo], process_pool, store=store)
    assert [outcome.result for outcome in ended] == [large, small, large, (large,)]
    assert len(list((tmp_path / "values").iterdir())) == 2


def test_stages_hand_on_large_arrays_and_may_write_to_them(tmp_path: Path, process_pool: ProcessPool) -> None:
    """What one worker has stored another one reads, as an array of its own."""
    store = ValueStore(str(tmp_path / "values"))
    ended = travel(range(4), [stages.make_array, stages.sum_array], process_pool, store=store, megabytes=3)
    assert [outcome.result for outcome in ended] == [0.0, 1.0, 2.0, 3.0]


def test_a_value_whose_file_was_changed_fails_its_unit_and_one_that_is_gone_is_made_again(
    tmp_path: Path,
) -> None:
    """The digest is checked when it is read; what is not there any more does not count as done."""
    with Ledger(tmp_path / "ledger.db") as ledger:
        scope = LedgerScope("lineage", "asset")
        memory = LedgerMemory(ledger, scope, "run", "1", "lineage")
        store = ledger.value_store(scope, str(tmp_path / "values"), 1000)
        arguments: dict[str, Any] = {"memory": memory, "store": store, "megabytes": 1}
        travel([7], [stages.make_array], InlinePool(), **arguments)
        (file,) = Path(store.url).iterdir()
        made = file.stat().st_mtime_ns
        travel([7], [stages.make_array], InlinePool(), **arguments)
        assert file.stat().st_mtime_ns == made
        file.write_bytes(b"y" * file.stat().st_size)
        (outcome,) = travel([7], [stages.make_array], InlinePool(), **arguments)
        with pytest.raises(
            DamagedValueError, match=r"The result of unit '0' of record 'r': The value in .* is not"
        ):
            _ = outcome.result
        file.unlink()
        (outcome,) = travel([7], [stages.make_array], InlinePool(), **arguments)
        assert outcome.result[-1] == 7


def test_prune_removes_the_values_of_a_killed_run(tmp_path: Path) -> None:
    """Also those that no outcome in the ledger names, and what a killed worker has left half written."""
    killed, kept = LedgerScope("killed", "asset"), LedgerScope("kept", "asset")
    with Ledger(tmp_path / "ledger.db") as ledger:
        folders = {
            scope: Path(ledger.value_store(scope, str(tmp_path / "values"), 1000).url)
            for scope in (killed, kept)
        }
        for folder in folders.values():
            ValueStore(str(folder)).keep([b"x"])
            (folder / ".0123.99.0").write_bytes(b"half")
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert {summary.scope for summary in ledger.scopes()} == {killed, kept}
        ledger.prune(LedgerFilter(lineage="killed"))
        assert {summary.scope for summary in ledger.scopes()} == {kept}
    assert not folders[killed].exists()
    assert len(list(folders[kept].iterdir())) == 2


def test_values_in_an_object_store(bucket: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Any URL of fsspec is a value store: S3 here, from worker processes too, and prune removes what is in it."""
    access = bucket.access
    monkeypatch.setenv("AWS_ENDPOINT_URL", access["endpoint_url"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access["aws_access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", access["aws_secret_access_key"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", access["region_name"])
    scope = LedgerScope("lineage", "asset")
    with Ledger(tmp_path / "ledger.db") as ledger, ProcessPool(1) as pool:
        store = ledger.value_store(scope, f"s3://{bucket.name}/values", 1000)
        memory = LedgerMemory(ledger, scope, "run", "1", "lineage")
        large = ("x" * 2000, 1)
        for _ in range(2):
            assert travel([large], [stages.echo], pool, store=store, memory=memory)[0].result == large
        assert len(bucket.contents()) == 1
        ledger.prune(LedgerFilter(lineage="lineage"))
    assert bucket.contents() == []


def test_a_fan_out_of_large_payloads_is_kept_in_the_ledger(tmp_path: Path) -> None:
    """Keys and payloads, packed, spilled and plain, come out as they went in."""
    with Ledger(tmp_path / "ledger.db") as ledger:
        scope = LedgerScope("lineage", "asset")
        memory = LedgerMemory(ledger, scope, "run", "1", "lineage")
        store = ledger.value_store(scope, str(tmp_path / "values"), 1000)
        values = ["plain", (1, 2), "x" * 2000]
        for _ in range(2):
            ended = travel(
                values[:3], [stages.fan_out_payload, stages.echo], InlinePool(), memory=memory, store=store
            )
            assert [outcome.result for outcome in ended][::2] == values
