"""What a run does: nothing partial looks whole, failures are data, and limits hold before the first unit."""

import itertools
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from project_fanout.engine import FanoutPolicy, Record, Unit
from project_fanout.engine.errors import (
    FanoutError,
    InvalidRecordError,
    NoRecordsError,
    ToleranceExceededError,
    TooManyRecordsError,
)
from project_fanout.orchestration import UnitPoolResource, build_fanout_asset
from project_fanout_tests.engine import runner_stages as stages
from project_fanout_tests.engine.pools import kind_stages
from project_fanout_tests.engine.test_model import KEYS
from project_fanout_tests.engine.test_runner import split_and_weigh
from project_fanout_tests.orchestration.support import (
    assert_same,
    mapped_steps,
    materialization,
    materialize,
    table,
)

chain = build_fanout_asset(
    "chain",
    records=stages.mixed_records,
    stages=[stages.split, stages.weigh],
    policy=FanoutPolicy(max_failed_ratio=1),
)
marks = build_fanout_asset("marks", records=stages.some_records, stages=[stages.mark])
echoes = build_fanout_asset("echoes", records=stages.some_records, stages=[stages.echo])
keyed = build_fanout_asset("keyed", records=stages.keyed_records, stages=[stages.echo])
flaky = build_fanout_asset("flaky", records=stages.some_records, stages=[stages.fail_first])


def refused(kind: type[FanoutError], asset: dg.AssetsDefinition, **options: Any) -> str:
    """Assert that a run of *asset* fails with this error and materialises nothing; return its message."""
    with dg.DagsterInstance.ephemeral() as instance:
        with pytest.raises(kind) as error:
            materialize(asset, instance=instance, **options)
        [run] = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.FAILURE
        assert instance.fetch_materializations(asset.key, limit=1).records == []
    return str(error.value)


def texts(values: Iterable[str | None]) -> "pd.Series[Any]":
    """Return a column of text, which pandas 3 would give another type."""
    return pd.Series(list(values), dtype="object")


# Records and units


@pytest.mark.parametrize("strategy", ["sequential", "parallel", "auto"])
@pytest.mark.parametrize("kind", ["inline", "process"])
def test_strategy_and_pool_do_not_matter(strategy: str, kind: Any) -> None:
    """Chained stages, children, failures, an empty record: the same table as loops give."""
    resources = {"unit_pool": UnitPoolResource(kind=kind, max_workers=2)}
    frame = table(chain, policy={"strategy": strategy}, resources=resources)
    rows = split_and_weigh(stages.mixed_records())
    fields = [row[4] if isinstance(row[4], dict) else {"result": row[4]} for row in rows]
    expected = pd.DataFrame(
        {
            "record_key": texts(row[0] for row in rows),
            "unit_key": texts(row[1] for row in rows),
            "stage": texts(row[2] for row in rows),
            "status": texts(row[3] for row in rows),
            "attempts": 1,
            "seconds": 0.0,
            "error": texts(row[5] for row in rows),
            "weight": [each.get("weight") for each in fields],
            "odd": [each.get("odd") for each in fields],
            "result": [each.get("result") for each in fields],
        }
    )
    assert_same(frame, expected)
    assert (frame["seconds"] >= 0).all()


@pytest.mark.parametrize(("count", "units"), [(0, 1), (1, 0), (1, 1), (3, 30)])
def test_any_number_of_records_and_units(count: int, units: int) -> None:
    """None, one, and some; with a step for each record."""
    result = materialize(echoes, params={"count": count, "units": units})
    frame = result.output_for_node("echoes")
    assert frame["result"].tolist() == list(range(count * units)) if count * units else len(frame) == 0
    assert len(mapped_steps(result)) == count
    metadata = materialization(result, echoes)
    assert (metadata["records"], metadata["units"], metadata["succeeded"]) == (
        count,
        count * units,
        count * units,
    )


def test_300_records() -> None:
    """As many as a table may have, ten to a step here; every one is accounted for."""
    result = materialize(echoes, params={"count": 300, "units": 1}, policy={"records_per_step": 10})
    assert result.output_for_node("echoes")["result"].tolist() == list(range(300))
    assert len(mapped_steps(result)) == 30


@pytest.fixture(scope="module")
def of_chain() -> pd.DataFrame:
    """The table of `chain` with nothing configured."""
    return table(chain)


@pytest.mark.parametrize("per_step", [1, 2, 5])
def test_records_per_step_changes_the_steps_only(per_step: int, of_chain: pd.DataFrame) -> None:
    """Never the table."""
    result = materialize(chain, policy={"records_per_step": per_step})
    assert_same(result.output_for_node("chain"), of_chain)
    assert len(mapped_steps(result)) == len(mapped_steps(result, "weigh")) == -(-4 // per_step)


def summed(batches: Iterable[pd.DataFrame]) -> dict[str, Any]:
    """Return what has come, and in how many parts."""
    parts = list(batches)
    return {"parts": len(parts), "table": pd.concat(parts, ignore_index=True) if parts else None}


in_batches = build_fanout_asset(
    "in_batches",
    records=stages.some_records,
    stages=[stages.echo],
    aggregate=summed,
    policy=FanoutPolicy(max_failed_ratio=1),
)


def test_long_lists_make_fewer_steps_and_the_same_table() -> None:
    """From the 201st record on some share one; an aggregate that takes batches gets the same rows in the same order."""
    params = {"count": 230, "units": 1}
    expected = table(echoes, params=params, policy={"records_per_step": 7})
    assert expected["result"].tolist() == list(range(230))
    result = materialize(in_batches, params=params)
    value = result.output_for_node("in_batches")
    assert value["parts"] == 1
    assert_same(value["table"], expected)
    assert 200 < len(set(mapped_steps(result))) == len(mapped_steps(result)) < 220


# Keys


def test_any_text_is_a_key() -> None:
    """Dots, dashes, spaces, Cyrillic, emoji, 300 characters, reserved words, paths and mere case."""
    keys = [*KEYS, "photo.jpg", "Photo.jpg"]
    frame = table(keyed, params={"keys": keys})
    assert frame["record_key"].tolist() == frame["unit_key"].tolist() == frame["result"].tolist() == keys


def twice_yielded(*, folder: str) -> Any:
    """Yield a key again, after a record that could have started."""
    for key in ("a", "b", "a"):
        yield Record(key, [Unit(key)])


@pytest.mark.parametrize("policy", [{}, {"max_records": 5}, {"records_per_step": 3}])
def test_duplicate_records_are_refused_before_any_unit(tmp_path: Path, policy: dict[str, int]) -> None:
    """By name, also when they come one by one."""
    asset = build_fanout_asset("twice", records=twice_yielded, stages=[stages.mark])
    message = refused(InvalidRecordError, asset, params={"folder": str(tmp_path)}, policy=policy)
    assert "two records with the key 'a'" in message
    assert "Put into the key what tells the two apart" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("keys", "said"), [(["a", ""], "''"), (["a", "b", "a"], "'a'")])
def test_bad_keys_are_refused_by_name(keys: list[str], said: str) -> None:
    """Empty or duplicate."""
    assert said in refused(InvalidRecordError, keyed, params={"keys": keys})


# Limits


def test_max_records_refuses_before_the_first_unit(tmp_path: Path) -> None:
    """Saying limit and count; at the limit it runs."""
    params = {"folder": str(tmp_path), "count": 4}
    message = refused(TooManyRecordsError, marks, params=params, policy={"max_records": 3})
    assert "There are 4 records, and max_records is 3" in message
    assert not list(tmp_path.iterdir())
    assert len(table(marks, params=params, policy={"max_records": 4})) == len(list(tmp_path.iterdir())) == 8


def endless() -> Iterator[Record]:
    """Yield records as long as anybody asks."""
    yield from (Record(str(number), [Unit("u")]) for number in itertools.count())


def listed() -> list[Record]:
    """Return five records."""
    return list(itertools.islice(endless(), 5))


@pytest.mark.parametrize(("records", "count"), [(endless, "10,003 or more"), (listed, "5")])
def test_max_records_ends_a_generator_that_has_no_end(records: Any, count: str) -> None:
    """It is counted to 10,000 more than there may be."""
    asset = build_fanout_asset("fan", records=records, stages=[stages.echo])
    message = refused(TooManyRecordsError, asset, policy={"max_records": 3})
    assert f"There are {count} records, and max_records is 3" in message


def test_no_records_may_fail_the_run() -> None:
    """Saying which function found none, with which params."""
    message = refused(NoRecordsError, echoes, params={"count": 0}, policy={"on_empty": "fail"})
    assert "some_records found no record" in message
    assert "'count': 0" in message


def test_no_records_may_leave_the_asset_as_it_is() -> None:
    """The run succeeds, nothing is materialised, and what needs the asset is skipped."""

    @dg.asset
    def after(echoes: Any) -> int:
        return 1

    result = dg.materialize_to_memory(
        [echoes, after],
        run_config={"ops": {"echoes": {"config": {"params": {"count": 0}, "policy": {"on_empty": "skip"}}}}},
    )
    assert result.success
    assert not result.get_asset_materialization_events()
    assert not result.get_asset_check_evaluations()


def test_no_records_make_an_empty_table() -> None:
    """By default: the asset is materialised and its check passes."""
    result = materialize(echoes, params={"count": 0})
    assert len(result.output_for_node("echoes")) == 0
    (check,) = result.get_asset_check_evaluations()
    assert check.passed
    assert materialization(result, echoes)["dagster/row_count"] == 0


def burning_records() -> Iterator[Record]:
    """Yield 2 records with 7 seconds of work for two workers."""
    for number in range(2):
        yield Record(key=f"record {number}", units=[Unit(key=f"u{unit}", payload=0.2) for unit in range(35)])


def test_the_log_says_how_far_a_long_run_is() -> None:
    """Every few seconds, under the asset's name, with what is done, failed, running and waiting."""
    asset = build_fanout_asset("burned", records=burning_records, stages=[kind_stages.burn])
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(
            asset, instance=instance, resources={"unit_pool": UnitPoolResource(kind="process", max_workers=2)}
        )
        lines = [
            entry.message for entry in instance.all_logs(result.run_id) if " units done" in entry.message
        ]
    assert lines
    counts = r"\d+ of 70 units done \(\d+%\), 0 failed, [12] running, \d+ waiting"
    for line in lines:
        assert re.fullmatch(rf"burned: {counts}; [\d.]+ a second, \d+ s left\.", line), line


# Failures


def test_one_failure_fails_the_run_by_default(tmp_path: Path) -> None:
    """After every unit has run, naming record, unit and error; the record's step itself succeeds."""
    params = {"folder": str(tmp_path), "fail": "r1u0"}
    message = refused(ToleranceExceededError, marks, params=params)
    assert "1 of 6 units ended without success (16.7%, max_failed_ratio allows 0.0%)" in message
    assert "record 'record 1', unit 'r1u0', stage mark: failed after 1 attempt" in message
    assert "RuntimeError: r1u0 was told to fail" in message
    assert len(list(tmp_path.iterdir())) == 6
    result = materialize(marks, params=params, raise_on_error=False)
    failed = [event.step_key for event in result.get_step_failure_events()]
    assert failed == ["marks.collect_records"]


def test_a_failed_run_says_why_where_one_looks(tmp_path: Path) -> None:
    """The asset has an observation, its check a result, and the record's step a warning: each names unit and error."""
    days = dg.StaticPartitionsDefinition(["monday", "tuesday"])
    plain = build_fanout_asset("plain", records=stages.some_records, stages=[stages.mark])
    daily = build_fanout_asset(
        "daily", records=stages.some_records, stages=[stages.mark], partitions_def=days, key_prefix="shop"
    )
    for asset, partition in ((plain, None), (daily, "monday")):
        folder = tmp_path / str(partition)
        folder.mkdir()
        with dg.DagsterInstance.ephemeral() as instance:
            result = materialize(
                asset,
                params={"folder": str(folder), "fail": "r1u0"},
                instance=instance,
                partition_key=partition,
                raise_on_error=False,
            )
            assert not result.success
            assert not result.get_asset_materialization_events()
            [record] = instance.fetch_observations(asset.key, limit=9).records
            [step] = {
                entry.step_key: entry.message
                for entry in instance.all_logs(result.run_id)
                if "units ended without success:" in entry.message and entry.level == logging.WARNING
            }.items()
        observation, [check] = record.asset_observation, result.get_asset_check_evaluations()
        assert observation is not None
        assert observation.partition == partition
        assert observation.description == (
            "Not materialized. 1 of 6 units ended without success (16.7%, max_failed_ratio allows 0.0%)."
        )
        assert (check.passed, check.asset_key) == (False, asset.key)
        name = asset.node_def.name
        assert step[0].startswith(f"{name}.record.process_record[record_1_")
        for text in (observation.metadata["failures"].value, check.metadata["failures"].value, step[1]):
            for named in ("record 1", "r1u0", "RuntimeError: r1u0 was told to fail"):
                assert named in str(text)


@pytest.mark.parametrize(("ratio", "passes"), [(0.49, False), (0.5, True), (0.51, True), (1.0, True)])
def test_failures_up_to_the_ratio_are_tolerated(tmp_path: Path, ratio: float, passes: bool) -> None:
    """Above it the run fails; at or below it the asset materialises with its failures in sight."""
    params = {"folder": str(tmp_path), "count": 2, "fail": "r0"}
    policy = {"max_failed_ratio": ratio}
    if not passes:
        assert "2 of 4" in refused(ToleranceExceededError, marks, params=params, policy=policy)
        return
    result = materialize(marks, params=params, policy=policy)
    frame = result.output_for_node("marks")
    assert frame["status"].tolist() == ["failed", "failed", "succeeded", "succeeded"]
    metadata = materialization(result, marks)
    assert (metadata["succeeded"], metadata["failed"]) == (2, 2)
    assert "r0u1 was told to fail" in metadata["failures"]
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.severity) == (
        "all_units_succeeded",
        False,
        dg.AssetCheckSeverity.WARN,
    )
    assert "r0u0" in check.metadata["failures"].value


def test_the_first_twenty_failures_are_named(tmp_path: Path) -> None:
    """Then a count."""
    params = {"folder": str(tmp_path), "count": 1, "units": 23, "fail": "r"}
    message = refused(ToleranceExceededError, marks, params=params)
    assert message.count("was told to fail") == 20
    assert message.endswith("- and 3 more.")


def test_the_steps_metadata_counts(tmp_path: Path) -> None:
    """Each record's step tells its units and failures."""
    result = materialize(
        marks,
        params={"folder": str(tmp_path), "fail": "r1u0"},
        policy={"max_failed_ratio": 1, "strategy": "sequential"},
    )
    counted = [
        {name: value.value for name, value in event.step_output_data.metadata.items()}
        for event in result.filter_events(lambda event: event.is_successful_output)
        if ".process_record[" in event.step_key
    ]
    assert [(each["units"], each["succeeded"], each["failed"]) for each in counted] == [
        (2, 2, 0),
        (2, 1, 1),
        (2, 2, 0),
    ]
    assert "r1u0" in counted[1]["failures"]


@pytest.mark.slow
def test_crashes_and_deadlines_are_rows() -> None:
    """A unit that ends its worker and one over its deadline, each beside healthy siblings."""
    for stage, key, status in (
        (stages.exit_on, "r1u1", "crashed"),
        (stages.hang_on, "r0u1", "timed_out"),
    ):
        asset = build_fanout_asset("hurt", records=stages.some_records, stages=[stage])
        result = materialize(
            asset,
            params={"key": key},
            policy={"unit_timeout_s": 1.0, "max_failed_ratio": 0.2},
            resources={"unit_pool": UnitPoolResource(max_workers=2)},
        )
        frame = result.output_for_node("hurt")
        assert dict(zip(frame["unit_key"], frame["status"], strict=True)) == {
            unit: status if unit == key else "succeeded"
            for unit in ("r0u0", "r0u1", "r1u0", "r1u1", "r2u0", "r2u1")
        }
        assert materialization(result, asset)[status] == 1


def test_attempts_are_counted_after_the_last(tmp_path: Path) -> None:
    """A unit that succeeds at its second attempt is a success, and says so."""
    params = {"folder": str(tmp_path)}
    policy = {"max_attempts": 2, "retry_delay_s": 0}
    result = materialize(flaky, params=params, policy=policy)
    assert set(result.output_for_node("flaky")["attempts"]) == {2}
    assert materialization(result, flaky)["retried"] == 6
    message = refused(ToleranceExceededError, flaky, params={**params, "times": 100}, policy=policy)
    assert "failed after 2 attempts" in message


@pytest.mark.parametrize(("fail_fast", "started"), [(True, 3), (False, 20)])
def test_fail_fast_starts_fewer_units(tmp_path: Path, fail_fast: bool, started: int) -> None:
    """Two of twenty units may fail; the third failure ends the fan-out, and the message says what is left."""
    params = {"folder": str(tmp_path), "count": 4, "units": 5, "fail": "r"}
    policy = {"fail_fast": fail_fast, "max_failed_ratio": 0.1, "strategy": "sequential"}
    result = materialize(marks, params=params, policy=policy, raise_on_error=False)
    assert not result.success
    assert len(list(tmp_path.iterdir())) == started
    (failure,) = result.get_step_failure_events()
    message = failure.step_failure_data.error.cause.message
    assert ("17 more units were not started, because fail_fast is on" in message) is fail_fast


@pytest.mark.slow
def test_one_pool_and_one_cap_for_all_records(tmp_path: Path) -> None:
    """`max_workers: 1` holds for the units of all records, in a pool of two."""
    asset = build_fanout_asset("levels", records=stages.some_records, stages=[stages.level])
    frame = table(
        asset,
        params={"folder": str(tmp_path), "units": 4},
        policy={"max_workers": 1, "strategy": "parallel"},
        resources={"unit_pool": UnitPoolResource(max_workers=2)},
    )
    assert frame["working"].tolist() == [1] * 12
    assert sorted(frame["started"]) == list(range(1, 13))


# Logs


@pytest.mark.parametrize("kind", ["inline", "process"])
def test_a_units_log_is_in_the_runs_log(kind: Any) -> None:
    """With record and unit key, at its own level or Dagster's next lower one, in the step of the record.

    Of a run that has an entry at any other level, Dagster's UI shows no log at all.
    """
    asset = build_fanout_asset("logs", records=stages.some_records, stages=[stages.log_at])
    instance = dg.DagsterInstance.ephemeral()
    result = materialize(
        asset,
        params={"count": 1, "units": 41},
        instance=instance,
        resources={"unit_pool": UnitPoolResource(kind=kind, max_workers=1)},
    )
    entries = {
        entry.user_message: entry
        for entry in instance.all_logs(result.run_id)
        if "workload" in entry.user_message
    }
    assert sorted(entries) == [
        f"[record 'record 0', unit 'r0u{level}'] workload: working at level {level}"
        for level in range(20, 41)
    ]
    warning = entries["[record 'record 0', unit 'r0u30'] workload: working at level 30"]
    assert warning.level == 30
    assert [entry.level for entry in entries.values()] == [20] * 10 + [30] * 10 + [40]
    assert warning.step_key
    assert ".process_record[record_0_" in warning.step_key


def test_the_first_failures_traceback_is_in_the_log(tmp_path: Path) -> None:
    """So that nobody has to search for it."""
    instance = dg.DagsterInstance.ephemeral()
    params = {"folder": str(tmp_path), "fail": "r1"}
    result = materialize(marks, params=params, instance=instance, raise_on_error=False)
    logs = [entry.user_message for entry in instance.all_logs(result.run_id) if entry.level == 40]
    assert any('raise RuntimeError(f"{unit.key} was told to fail")' in message for message in logs)
