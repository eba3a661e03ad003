"""The table and the metadata say what became of every unit, and nothing else."""

import json
import re

import dagster as dg
import pandas as pd
import pytest

from project_fanout.engine import RecordOutcome, UnitError, UnitOutcome
from project_fanout.engine.model import Status
from project_fanout.engine.record_state import EncodedUnit, RecordState
from project_fanout.orchestration.fan_in import FanIn
from project_fanout.orchestration.plots import LONGEST_SHOWN
from project_fanout.orchestration.report import (
    asset_metadata,
    counts_metadata,
    failures_table,
    failures_text,
    new_outcomes,
    step_metadata,
)
from project_fanout.orchestration.table import COLUMNS, outcome_frame


def fine(result: object, *, unit: str = "u", record: str = "r", seconds: float = 0.5) -> UnitOutcome:
    """Return the outcome of a unit that succeeded."""
    return UnitOutcome(
        record_key=record,
        unit_key=unit,
        stage="work",
        status="succeeded",
        attempts=1,
        seconds=seconds,
        encoded=json.dumps(result),
    )


def bad(
    status: Status = "failed", *, unit: str = "u", record: str = "r", message: str = "bad"
) -> UnitOutcome:
    """Return the outcome of a unit that did not."""
    error = UnitError("ValueError", message, "Traceback ...")
    return UnitOutcome(
        record_key=record, unit_key=unit, stage="work", status=status, attempts=3, seconds=1.0, error=error
    )


def waiting(unit: str) -> EncodedUnit:
    """Return a unit that the next stage takes."""
    return EncodedUnit(unit, "null")


def fan_in(*records: RecordState) -> FanIn:
    """Return what the collect step has of *records*, a step of each."""
    found = FanIn()
    for place, record in enumerate(records):
        found.put(place, [record])
    return found


def frame_of(*outcomes: UnitOutcome) -> pd.DataFrame:
    """Return the table of one record."""
    return outcome_frame([RecordOutcome("r", outcomes)])


def test_the_columns_come_in_order() -> None:
    """The fixed ones, then the fields of the results as they first appear."""
    frame = frame_of(fine({"b": 1, "a": "x"}), bad(), fine({"c": None, "a": "y"}))
    assert list(frame.columns) == [*COLUMNS, "b", "a", "c"]
    assert COLUMNS == ("record_key", "unit_key", "stage", "status", "attempts", "seconds", "error")
    assert frame["status"].tolist() == ["succeeded", "failed", "succeeded"]
    assert frame["error"].tolist() == [None, "ValueError: bad", None]
    assert frame["a"].tolist() == ["x", None, "y"]


def test_rows_are_in_record_and_unit_order() -> None:
    """Not in the order in which units ended."""
    records = [
        RecordOutcome("b", (fine(1, record="b", unit="2"), bad(record="b", unit="1"))),
        RecordOutcome("empty", ()),
        RecordOutcome("a", (fine(2, record="a"),)),
    ]
    frame = outcome_frame(records)
    assert list(zip(frame["record_key"], frame["unit_key"], strict=True)) == [
        ("b", "2"),
        ("b", "1"),
        ("a", "u"),
    ]
    assert frame.index.tolist() == [0, 1, 2]


@pytest.mark.filterwarnings("ignore:The 'future.infer_string' option is deprecated")
@pytest.mark.parametrize("infers_text", [False, True], ids=["as pandas 2", "as pandas 3"])
@pytest.mark.parametrize(
    ("results", "dtype"),
    [
        (["x", "y"], "object"),
        (["x", None], "object"),
        (["x", 1], "object"),
        ([["x"], {"y": 1}], "object"),
        ([True, None], "object"),
        ([2**60, None], "object"),
        ([1, 2], "int64"),
        ([1, 1.5], "float64"),
        ([True, False], "bool"),
    ],
    ids=str,
)
def test_the_table_is_the_same_under_pandas_2_and_3(
    results: list[object], dtype: str, infers_text: bool
) -> None:
    """Text is of type object with None where there is none, though pandas 3 has a type of its own with NaN."""
    with pd.option_context("future.infer_string", infers_text):
        frame = frame_of(*(fine({"value": result}) for result in results))
        failed = frame_of(bad())
    assert frame["value"].dtype == dtype
    assert frame["value"].tolist() == results
    for column in ("record_key", "unit_key", "stage", "status", "error"):
        assert (frame[column].dtype, failed[column].dtype) == ("object", "object"), column
    assert frame["error"].tolist() == [None, None]


@pytest.mark.parametrize("records", [[], [RecordOutcome("r", ())]])
def test_an_empty_table_has_the_same_columns_and_types(records: list[RecordOutcome]) -> None:
    """A database table does not change its schema on a day without records."""
    empty, full = outcome_frame(records), frame_of(fine(None), bad())
    assert len(empty) == 0
    assert list(empty.columns) == list(COLUMNS)
    assert empty.dtypes[list(COLUMNS)].tolist() == full.dtypes[list(COLUMNS)].tolist()


def test_a_table_of_failures_has_no_result_columns() -> None:
    """There is nothing to put there."""
    assert list(frame_of(bad("crashed"), bad("timed_out")).columns) == list(COLUMNS)


def test_a_field_named_like_a_column_is_renamed() -> None:
    """The unit's own status is not overwritten, nor is the result's."""
    frame = frame_of(fine({"status": "draft", "error": "none", "size": 1}))
    assert frame.iloc[0].to_dict() | {"seconds": 0.5} == {
        "record_key": "r",
        "unit_key": "u",
        "stage": "work",
        "status": "succeeded",
        "attempts": 1,
        "seconds": 0.5,
        "error": None,
        "result_status": "draft",
        "result_error": "none",
        "size": 1,
    }


def test_a_renamed_field_replaces_no_other() -> None:
    """Whatever names a result has, in this row or another, each has a column."""
    frame = frame_of(fine({"status": 1, "result_status": 2}), fine({"result_result_status": 3}))
    row = frame.drop(columns=list(COLUMNS)).sum().to_dict()
    assert sorted(row.values()) == [1, 2, 3]


def test_results_that_are_no_dicts_go_to_one_column() -> None:
    """Text, numbers, lists and None as they are; beside dicts too."""
    frame = frame_of(fine("x"), fine([1, [2]]), fine(None), fine({"a": {"deep": [1]}}))
    assert frame["result"].tolist() == ["x", [1, [2]], None, None]
    assert frame["a"].tolist() == [None, None, None, {"deep": [1]}]


def test_numbers_stay_numbers() -> None:
    """Integers without gaps are integers; large ones are exact even beside a failure."""
    whole = frame_of(fine({"n": 1}), fine({"n": 2}))
    mixed = frame_of(fine({"n": 2**53 + 1}), fine({"n": 0.5}), fine({"n": 2**2000}))
    assert mixed["n"].tolist() == [2**53 + 1, 0.5, 2**2000]
    gap = frame_of(fine({"n": 2**53 + 1}), bad())
    assert str(whole["n"].dtype) == "int64"
    assert gap["n"].tolist() == [2**53 + 1, None]


def test_the_counts_tell_every_status() -> None:
    """Only those that occur, but always how many succeeded and how many failed: the UI plots both."""
    outcomes = (bad("failed"), bad("crashed"), bad("crashed"), fine(1, seconds=0.25))
    assert (
        asset_metadata(fan_in(RecordState("r", outcomes), RecordState("s", ()))).items()
        >= {
            "records": 2,
            "units": 4,
            "succeeded": 1,
            "failed": 1,
            "crashed": 2,
        }.items()
    )
    assert counts_metadata(0, {}) == {"records": 0, "units": 0, "succeeded": 0, "failed": 0}


def test_the_assets_metadata_shows_the_slow_and_the_failed() -> None:
    """How long units took, the five slowest, and each failure with its reason, safe inside a table."""
    outcomes = [fine(1, unit=f"u{number}", seconds=float(number)) for number in range(1, 21)]
    failed = bad(unit="broken", message="line one\nline | two " + "x" * 500)
    records = [
        RecordState("r", (*outcomes, failed), ended=30, seconds=211.0, reused=2),
        RecordState("hollow", ()),
    ]
    metadata = asset_metadata(fan_in(*records))
    assert (metadata["units"], metadata["units_of_all_stages"]) == (21, 30)
    assert (metadata["unit_seconds"], metadata["reused"], metadata["records_without_units"]) == (211.0, 2, 1)
    assert (metadata["seconds_p50"], metadata["seconds_p95"], metadata["retried"]) == (10.0, 19.0, 1)
    slowest = metadata["slowest"].value.splitlines()
    assert [line.split("|")[2].strip() for line in slowest[2:]] == ["u20", "u19", "u18", "u17", "u16"]
    (line,) = metadata["failures"].value.splitlines()[2:]
    assert "broken" in line
    assert "line one line \\| two" in line
    assert len(line) < 500


def test_a_step_counts_what_it_has_done_itself() -> None:
    """The units that it took, its own seconds and failures; outcomes of stages before it are not its own."""
    lost = bad(unit="lost")
    before = [RecordState("r", (lost, waiting("a"), waiting("b")), seconds=1.0, reused=1)]
    between = [RecordState("r", (lost, waiting("a/1"), waiting("a/2"), bad(unit="b")), seconds=3.5, reused=2)]
    first = step_metadata(before, between, new_outcomes(before, between), is_last=False)
    assert "succeeded" not in first
    assert {
        name: first[name] for name in ("units", "failed", "unit_seconds", "units_for_next_stage", "reused")
    } == {
        "units": 2,
        "failed": 1,
        "unit_seconds": 2.5,
        "units_for_next_stage": 2,
        "reused": 1,
    }
    after = [
        RecordState(
            "r", (lost, fine(1, unit="a/1"), fine(2, unit="a/2"), bad(unit="b")), seconds=4.0, reused=2
        )
    ]
    last = step_metadata(between, after, new_outcomes(between, after), is_last=True)
    assert (last["units"], last["succeeded"], last["failed"], last["unit_seconds"]) == (2, 2, 0, 0.5)


def test_the_assets_metadata_of_nothing() -> None:
    """No unit, no times."""
    assert asset_metadata(fan_in()) == {
        "records": 0,
        "units": 0,
        "succeeded": 0,
        "failed": 0,
        "unit_seconds": 0,
    }


def test_a_failed_run_names_the_first_twenty() -> None:
    """Record, unit and error of each, then a count."""
    failed = [bad(unit=f"u{number}", record="r 1", message=f"bad {number}") for number in range(25)]
    lines = failures_text(failed, 100, 0.1).splitlines()
    assert lines[0] == "25 of 100 units ended without success (25.0%, max_failed_ratio allows 10.0%):"
    assert lines[1] == "- record 'r 1', unit 'u0', stage work: failed after 3 attempts: ValueError: bad 0"
    assert len(lines) == 22
    assert lines[-1] == "- and 5 more."


def test_failures_that_are_alike_name_their_cause_once() -> None:
    """With how many there are of each, and record and unit of the first twenty of all."""
    alike = [bad(unit=f"u{number}", record="r 1") for number in range(52)]
    other = bad("timed_out", unit="odd", message="slow")
    text = failures_text([alike[0], other, *alike[1:]], 100, 0.1)
    assert text.count("ValueError: bad") == 1
    assert "- 52 units of stage work, each failed after 3 attempts: ValueError: bad\n" in text
    assert "  They are record 'r 1', unit 'u0'; record 'r 1', unit 'u1'; " in text
    assert text.endswith("record 'r 1', unit 'u19'; and 32 more.\n- and 1 more.")
    few = failures_text([alike[0], other, alike[1]], 100, 0.1).splitlines()[1:]
    assert few == [
        "- 2 units of stage work, each failed after 3 attempts: ValueError: bad",
        "  They are record 'r 1', unit 'u0'; record 'r 1', unit 'u1'.",
        "- record 'r', unit 'odd', stage work: timed_out after 3 attempts: ValueError: slow",
    ]


def cells_of(table: dg.MarkdownMetadataValue) -> list[list[str]]:
    """Return the cells of a Markdown table's rows, without its head."""
    lines = (table.value or "").splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_failures_has_a_row_for_each_cause() -> None:
    """With how many units it is, and the first record and unit of them."""
    alike = [bad(unit=f"u{number}", record=f"r{number // 2}") for number in range(6)]
    other = bad("timed_out", unit="odd", message="slow")
    table = failures_table([alike[0], other, *alike[1:]])
    assert cells_of(table) == [
        ["6", "r0 and 2 more", "u0 and 5 more", "ValueError: bad (failed after 3 attempts, stage work)"],
        ["1", "r", "odd", "ValueError: slow (timed_out after 3 attempts, stage work)"],
    ]


def test_many_failures_that_differ_in_details_share_a_row() -> None:
    """Each error is named while there is room; then those whose numbers or quoted words differ count as one cause."""
    few = [bad(unit=f"u{number}", message=f"page {number} cannot be read") for number in range(3)]
    assert len(cells_of(failures_table(few))) == 3
    many = [
        bad(unit=f"u{number}", message=f"page '{number}' cannot be read: HTTP 429") for number in range(300)
    ]
    ((units, _, unit, error),) = cells_of(failures_table(many))
    assert (units, unit) == ("300", "u0 and 299 more")
    assert error.startswith("ValueError: page '0' cannot be read: HTTP 429")


@pytest.mark.parametrize(
    "message", ["<html>503</html>", "__init__() *a* `b` [c](d) <!-- e -->", "C:\\new a|b &amp; ~f~"]
)
def test_an_error_is_shown_as_it_is(message: str) -> None:
    """Not as the Markdown or HTML that it may look like, of which the UI would leave parts out."""
    text = failures_table([bad(message=message)]).value or ""
    cell = text.splitlines()[2]
    shown = re.sub(r"\\([\\`*\[\]<&|~$_])", r"\1", cell)
    assert f"ValueError: {message} (failed" in shown
    assert not re.search(r"(?<!\\)[`*<\[]", cell)


def test_a_table_of_failures_is_as_long_as_the_web_ui_shows_at_once() -> None:
    """Longer Markdown it hides behind a link; what does not fit is counted."""
    many = [
        bad(message=f"cause {'abcdefghijklmnopqrstuvwxyz'[number]} {'of many words ' * 9}")
        for number in range(26)
    ]
    text = failures_table(many).value or ""
    assert len(text) <= LONGEST_SHOWN
    assert (
        int(text.rpartition("and ")[2].removesuffix(" more")) + len(cells_of(failures_table(many))) - 2 == 26
    )
