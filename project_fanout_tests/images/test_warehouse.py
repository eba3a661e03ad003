"""The DuckDB file: what goes in comes out, whatever was there before."""

import dagster as dg
import duckdb
import pandas as pd
import pytest

from project_fanout.images.tables import RENDITION_COLUMNS, renditions_table, typed
from project_fanout.images.warehouse import DATABASE_VARIABLE, Warehouse, database_path

ROW = {"record_key": "a", "unit_key": "u", "status": "succeeded", "width": 160, "seconds": 0.5}


def stored(tmp_path, *frames):
    """Store *frames* one after the other as one asset; return what an asset downstream gets each time."""
    upcoming, received = list(frames), []

    @dg.asset(io_manager_key="warehouse")
    def measured():
        return upcoming.pop(0)

    @dg.asset
    def reader(measured: pd.DataFrame) -> None:
        received.append(measured)

    warehouse = Warehouse(database=str(tmp_path / "new folder" / "db.duckdb"))
    for _ in frames:
        assert dg.materialize([measured, reader], resources={"warehouse": warehouse}).success
    return received


def test_the_database_may_be_in_the_home_of_the_user(tmp_path, monkeypatch):
    """~ in PROJECT_FANOUT_DATABASE, as from an env file, is the home, and no folder of that name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(DATABASE_VARIABLE, "~/tables/db.duckdb")
    assert database_path() == str(tmp_path / "tables" / "db.duckdb")


def test_a_column_of_nothing_takes_text_the_next_time(tmp_path):
    """A first run without any error does not make the column refuse the first error."""
    fine = renditions_table(pd.DataFrame([ROW]))
    failed = renditions_table(pd.DataFrame([{**ROW, "status": "failed", "error": "broken", "width": None}]))
    one, other, back = stored(tmp_path, fine, failed, fine)
    assert one["error"].isna().all()
    assert other["error"].tolist() == ["broken"]
    assert other["width"].isna().all()
    assert list(one.columns) == list(RENDITION_COLUMNS)
    pd.testing.assert_frame_equal(one, back)


def test_an_empty_table_is_a_table(tmp_path):
    """No photographs today: the table is there, with its columns and types, and none of yesterday's rows."""
    full, empty = stored(tmp_path, renditions_table(pd.DataFrame([ROW])), renditions_table(pd.DataFrame()))
    assert len(full) == 1
    assert (len(empty), list(empty.columns)) == (0, list(RENDITION_COLUMNS))
    with duckdb.connect(str(tmp_path / "new folder" / "db.duckdb")) as connection:
        types = dict(
            connection.execute(
                "select column_name, data_type from information_schema.columns where table_name = 'measured'"
            ).fetchall()
        )
    assert (types["error"], types["width"], types["seconds"]) == ("VARCHAR", "BIGINT", "DOUBLE")


def test_columns_may_change_and_may_be_nested(tmp_path):
    """A table takes the columns of its last frame; lists and dicts in it stay what they are."""
    nested = pd.DataFrame({"name": ["a", "b"], "sizes": [[1, 2], [3]], "place": [{"x": 1}, {"x": 2}]})
    _, back = stored(tmp_path, pd.DataFrame({"other": [1]}), nested)
    assert list(back.columns) == ["name", "sizes", "place"]
    assert [list(sizes) for sizes in back["sizes"]] == [[1, 2], [3]]
    assert back["place"].tolist() == [{"x": 1}, {"x": 2}]


def test_a_table_has_exactly_its_columns():
    """What a fan-out adds on top is left out, what is missing is there and empty."""
    frame = typed(pd.DataFrame({"b": ["x"], "c": [1]}), {"a": ("Int64", ""), "b": ("string", "")})
    assert list(frame.columns) == ["a", "b"]
    assert frame["a"].isna().all()
    with pytest.raises(ValueError, match="many"):
        typed(pd.DataFrame({"a": ["many"]}), {"a": ("Int64", "")})
