"""The asset's table, where units return more than JSON: frames, models, numpy's and pandas' own values."""

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from project_fanout.engine import RecordOutcome, UnitError, UnitOutcome
from project_fanout.engine.record_state import RecordState
from project_fanout.engine.values import encode
from project_fanout.orchestration.batch_input import StoredBatch
from project_fanout.orchestration.fan_in import FanIn, frames
from project_fanout.orchestration.table import COLUMNS, outcome_frame
from project_fanout_tests.engine.values.samples import Item, Order


def outcomes(*results: Any) -> list[RecordOutcome]:
    """Return a record with a unit for each of *results*; one that is a text has failed with it."""
    return [
        RecordOutcome(
            "r",
            tuple(
                UnitOutcome(
                    record_key="r",
                    unit_key=f"u{number}",
                    stage="work",
                    status="failed" if isinstance(result, UnitError) else "succeeded",
                    attempts=1,
                    seconds=0.5,
                    encoded=None if isinstance(result, UnitError) else encode(result, "result"),
                    error=result if isinstance(result, UnitError) else None,
                )
                for number, result in enumerate(results)
            ),
        )
    ]


def results_in(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that the results have brought."""
    return table.drop(columns=list(COLUMNS))


def mixed(rows: int, seed: int) -> pd.DataFrame:
    """Return a frame of eight columns of as many dtypes."""
    numbers = np.arange(seed, seed + rows)
    return pd.DataFrame(
        {
            "number": numbers,
            "share": numbers / 3,
            "name": [f"n{number}" for number in numbers],
            "kind": pd.Categorical(["a", "b"] * (rows // 2), categories=["b", "a"]),
            "at": pd.date_range("2024-10-26", periods=rows, freq="h", tz="Europe/Berlin"),
            "count": pd.array([None if number % 3 == 0 else number for number in numbers], dtype="Int64"),
            "good": numbers % 2 == 0,
            "price": [Decimal(int(number)) / 4 for number in numbers],
        }
    )


def test_frames_give_their_rows_to_the_table() -> None:
    """As pandas.concat would join them, dtypes included, each with record, unit and stage."""
    parts = [mixed(4, 0), mixed(6, 100), mixed(2, 7)]
    table = outcome_frame(outcomes(*parts))
    pd.testing.assert_frame_equal(results_in(table), pd.concat(parts, ignore_index=True))
    assert table["unit_key"].tolist() == ["u0"] * 4 + ["u1"] * 6 + ["u2"] * 2
    assert set(table["record_key"]) == {"r"}
    assert list(table.columns[:7]) == list(COLUMNS)
    assert table.index.equals(pd.RangeIndex(12))


def test_the_rows_of_a_single_frame_may_be_written_to() -> None:
    """Though what was stored may not."""
    table = outcome_frame(outcomes(mixed(4, 0)))
    for name in ("number", "count", "good", "share"):
        table.loc[0, name] = table.loc[1, name]
    assert table.loc[0, "number"] == 1


@pytest.mark.filterwarnings("ignore:The behavior of .* concatenation with empty:FutureWarning")
@pytest.mark.parametrize(
    "parts",
    [
        [pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"b": ["x"]}), pd.DataFrame({"a": [1.5], "b": [None]})],
        [pd.DataFrame({"a": [1]}), pd.DataFrame({"a": pd.Series([], dtype="int64")}), pd.DataFrame()],
        [pd.DataFrame({"a": pd.Categorical(["x"])}), pd.DataFrame({"a": pd.Categorical(["y"])})],
        [pd.DataFrame({0: [1], "t": [pd.Timestamp("2024")]}), pd.DataFrame({0: [True], "t": [pd.NaT]})],
        [pd.DataFrame({"a": [True]}), pd.DataFrame({"c": pd.array([1], dtype="Int8")})],
        [pd.DataFrame({"a": []}), pd.DataFrame({"a": pd.Series([], dtype="int64")})],
    ],
)
def test_frames_with_differing_columns_meet_as_pandas_joins_them(parts: list[pd.DataFrame]) -> None:
    """Missing columns, dtypes that differ, empty frames."""
    table = outcome_frame(outcomes(*parts))
    pd.testing.assert_frame_equal(results_in(table), pd.concat(parts, ignore_index=True))


def test_an_empty_frame_gives_no_row_but_its_unit_counts() -> None:
    """So that the counts say what has run."""
    records = outcomes(mixed(2, 0), mixed(0, 0))
    assert outcome_frame(records)["unit_key"].tolist() == ["u0", "u0"]
    fan_in = FanIn()
    fan_in.put(0, [RecordState(each.record_key, each.units) for each in records])
    assert (fan_in.units, len(fan_in.table())) == (2, 2)


def test_named_levels_of_an_index_are_columns() -> None:
    """A groupby's keys are not lost; an index without a name, as a filter leaves it, is."""
    grouped = pd.DataFrame({"city": ["x", "y", "x"], "n": [1, 2, 3]}).groupby("city").sum()
    filtered = pd.DataFrame({"n": [1, 2, 3]}).query("n > 1")
    table = results_in(outcome_frame(outcomes(grouped, filtered)))
    assert table["city"].tolist()[:2] == ["x", "y"]
    assert table["n"].tolist() == [4, 2, 2, 3]
    assert list(table.columns) == ["city", "n"]


def test_failures_and_other_results_stand_between_frames() -> None:
    """In the order of the units, a row each; what they have not is missing."""
    table = outcome_frame(
        outcomes(pd.DataFrame({"n": [1.0]}), UnitError("E", "bad"), {"n": 2.0, "m": "x"}, 5)
    )
    assert table["status"].tolist() == ["succeeded", "failed", "succeeded", "succeeded"]
    assert table["n"].fillna(-1).tolist() == [1.0, -1, 2.0, -1]
    assert table["error"].tolist() == [None, "E: bad", None, None]
    assert table["result"].tolist()[3] == 5


def test_a_column_of_a_frame_named_like_one_of_the_tables_is_renamed() -> None:
    """The unit's own status is not overwritten."""
    table = outcome_frame(outcomes(pd.DataFrame({"status": ["draft"], "a": [1]})))
    assert table.loc[0, ["status", "result_status", "a"]].tolist() == ["succeeded", "draft", 1]


def test_an_arrow_table_gives_its_rows() -> None:
    """As its `to_pandas` has them."""
    pa = pytest.importorskip("pyarrow")
    table = outcome_frame(outcomes(pa.table({"n": [1, 2]}), pa.record_batch({"n": [3]})))
    assert table["n"].tolist() == [1, 2, 3]


def test_dataclasses_and_models_are_a_column_per_field() -> None:
    """As dicts with texts for keys are; any other dict stays whole."""
    day = dt.date(2024, 1, 31)
    table = outcome_frame(outcomes(Order(7, day), Item(name="x", price=Decimal(2)), {1: 2}))
    assert table.loc[0, ["number", "placed"]].tolist() == [7, day]
    assert table.loc[1, ["name", "price"]].tolist() == ["x", Decimal(2)]
    assert table["result"].tolist()[2] == {1: 2}


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([np.float32(1.5), np.float32(2)], "float32"),
        ([np.int8(1), np.int8(2)], "int8"),
        ([np.bool_(True), np.bool_(False)], "bool"),
        ([np.float64(1.5), float("nan")], "float64"),
        ([np.datetime64("2024-01-01T00:00:00", "s"), np.datetime64("2025-01-01", "s")], "datetime64[s]"),
        ([dt.timedelta(1), dt.timedelta(2)], "timedelta64"),
        ([dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)] * 2, "datetime64"),
        ([pd.Timestamp("2024-01-01", tz="Europe/Berlin"), pd.NaT], "datetime64"),
        ([np.arange(2), np.arange(2)], "object"),
        ([(1, 2), (3, 4)], "object"),
        ([{1}, {2}], "object"),
        ([Decimal(1), Decimal(2)], "object"),
    ],
    ids=str,
)
def test_values_make_columns_of_their_own_dtype(values: list[Any], dtype: str) -> None:
    """Numpy's scalars and times are real columns; what has no dtype stays as it is in its cell."""
    column = outcome_frame(outcomes(*({"value": value} for value in values)))["value"]
    assert str(column.dtype).startswith(dtype)
    assert str(column.tolist()) == str(pd.Series(values, dtype=column.dtype).tolist())


@pytest.mark.filterwarnings("ignore:The behavior of .* concatenation with empty:FutureWarning")
@pytest.mark.parametrize(
    "results",
    [
        [1, 2, 3, 4],
        [1, 2, UnitError("ValueError", "bad"), 4],
        [2**53 + 1, 2, 0.5, 4],
        [2**70, 1, 2, 3],
        [1, 1.5, True, None],
        [True, False, True, True],
        ["x", "y", 1, 2],
        [{"a": 1}, {"a": 2}, {"b": 1.5}, {"a": None, "b": 2}],
        [{"a": 1}, {"a": 2}, 3, {"a": "x"}],
        [{"status": 1}, {"result_status": 2}, {"status": 3}, {}],
        [{"n": np.int64(1)}, {"n": np.int64(2)}, {"n": None}, {"n": np.int64(4)}],
        [{"n": np.float64(1)}, {"n": 2.0}, {"n": [3]}, {"n": (4,)}],
        [1, 2, pd.DataFrame({"a": [1, 2]}), 4, 5, pd.DataFrame({"a": [1.5]}), {"a": 3}],
        [pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [3]}), pd.DataFrame({"a": [4]})],
        [UnitError("ValueError", "bad"), UnitError("ValueError", "bad")],
        [dt.date(2024, 1, 1), Decimal(1), 2, None],
    ],
    ids=repr,
)
def test_the_table_does_not_depend_on_which_records_shared_a_step(results: list[Any]) -> None:
    """Values, dtypes and columns are as if all outcomes had come together, wherever they were parted."""
    (whole,) = outcomes(*results)
    expected = outcome_frame([whole])
    for size in (1, 2, 3):
        fan_in = FanIn()
        places = range(0, len(whole.units), size)
        # The steps do not come in order: some are run in the end.
        for place in reversed(places):
            fan_in.put(place, [RecordState("r", whole.units[place : place + size])])
        pd.testing.assert_frame_equal(fan_in.table(), expected)


@pytest.mark.parametrize(
    "results", [range(4_000), [pd.DataFrame({"result": range(4_000)})]], ids=["values", "a frame"]
)
def test_frames_of_batches_are_as_large_as_they_are_worth(results: Iterable[Any]) -> None:
    """Some ten thousand rows each, of as many steps as that takes, loaded when they are asked for; none of none."""
    (whole,) = outcomes(*results)
    loaded = []

    def load(place: int) -> tuple[RecordState]:
        loaded.append(place)
        return (RecordState(f"r{place}", whole.units),)

    parts = frames(StoredBatch(f"r{place}", partial(load, place)) for place in range(5))
    first = next(parts)
    assert (len(first), loaded) == (12_000, [0, 1, 2])
    assert first["result"].tolist() == [*range(4_000)] * 3
    assert [len(part) for part in parts] == [8_000]
    assert list(frames([])) == []
