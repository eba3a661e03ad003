"""Assets whose units take and give values of pandas and numpy: the table, the value store, and a resumed run."""

import tempfile
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from project_fanout.engine import FanoutPolicy, Unit
from project_fanout.engine.ledger import Ledger, LedgerFilter
from project_fanout.orchestration import LedgerResource, UnitPoolResource, build_fanout_asset
from project_fanout_tests.orchestration import value_work as work
from project_fanout_tests.orchestration.support import failure_text

INLINE = UnitPoolResource(kind="inline")


def frames_of(numbers: range, rows: int) -> pd.DataFrame:
    """Return what a plain loop makes."""
    parts = [work.make_frame(Unit("u", {"start": np.int64(number), "rows": rows})) for number in numbers]
    return pd.concat(parts, ignore_index=True)


def test_units_return_frames_and_the_asset_is_their_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With no resources passed; large ones are files for the time of the run, and none is left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    asset = build_fanout_asset("frames", records=work.tables, stages=[work.make_frame])
    config = {"ops": {"frames": {"config": {"params": {"count": 1, "rows": 100_000}}}}}
    result = dg.materialize_to_memory([asset], run_config=config, resources={"unit_pool": INLINE})
    table = result.output_for_node("frames")
    pd.testing.assert_frame_equal(table[["number", "at"]], frames_of(range(2), 100_000))
    assert list(tmp_path.iterdir()) == []


def test_a_stage_takes_the_frame_that_the_one_before_has_made() -> None:
    """What numpy and pandas compute of it are columns with their dtypes."""
    asset = build_fanout_asset("totals", records=work.tables, stages=[work.make_frame, work.total_of])
    table = dg.materialize_to_memory([asset], resources={"unit_pool": INLINE}).output_for_node("totals")
    assert table["total"].tolist() == [6, 10, 46, 50, 86, 90]
    assert {name: str(dtype) for name, dtype in table.dtypes.items() if name in ("total", "mean")} == {
        "total": "int64",
        "mean": "float64",
    }
    assert str(table["last"].dtype).startswith("datetime64")


def test_a_resumed_run_takes_frames_from_the_ledger(tmp_path: Path) -> None:
    """Units that have returned frames, large and small, are not run again; the table is that of one run."""
    (marks := tmp_path / "marks").mkdir()
    policy = FanoutPolicy(reuse="always")
    asset = build_fanout_asset("frames", records=work.tables, stages=[work.fail_once], policy=policy)

    def run() -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [asset],
            resources={
                "unit_pool": INLINE,
                "ledger": LedgerResource(url=str(tmp_path / "ledger.db"), spill_bytes=2_000),
            },
            run_config={"ops": {"frames": {"config": {"params": {"folder": str(marks), "rows": 500}}}}},
            raise_on_error=False,
        )

    assert not run().success
    assert len([path for path in (tmp_path / "ledger_values").rglob("*") if path.is_file()]) == 5
    (marks / "go on").touch()
    table = run().output_for_node("frames")
    expected = [frames_of(range(10 * number, 10 * number + 2), 500) for number in range(3)]
    pd.testing.assert_frame_equal(table[["number", "at"]], pd.concat(expected, ignore_index=True))
    assert len(list(marks.glob("[01].*"))) == 6 + 1
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.prune(LedgerFilter(asset="frames"))
    assert list((tmp_path / "ledger_values").rglob("*")) == []


def test_a_stage_that_returns_nothing_that_travels_stops_the_run(tmp_path: Path) -> None:
    """Of 52 units that return a generator each ran at most once; the run says so once, with the remedy."""
    asset = build_fanout_asset(
        "lazy",
        records=work.tables,
        stages=[work.make_generator],
        policy=FanoutPolicy(max_attempts=3, retry_delay_s=0.0),
    )
    config: dict[str, Any] = {"ops": {"lazy": {"config": {"params": {"folder": str(tmp_path), "count": 26}}}}}
    result = dg.materialize_to_memory(
        [asset],
        run_config=config,
        resources={"unit_pool": UnitPoolResource(max_workers=2)},
        raise_on_error=False,
    )
    said = failure_text(result)
    ran = [path.name.partition(".")[0] for path in tmp_path.iterdir()]
    assert len(ran) == len(set(ran))
    assert 10 <= len(ran) < 52
    assert said.count("which cannot travel between processes: make a list of it, list(...)") == 1
    assert (
        f"- {len(ran)} units of stage make_generator, each failed after 1 attempt: UnsupportedValueError"
        in said
    )
    assert (
        f"{52 - len(ran)} more units were not started, because their stage had not worked for any unit so far."
        in said
    )


@pytest.mark.parametrize("field", [{"spill_bytes": 0}, {"spill_bytes": 1.5}])
def test_a_value_store_is_set_within_bounds(field: dict[str, Any]) -> None:
    """Said when the resource is made."""
    with pytest.raises(Exception, match="spill_bytes"):
        LedgerResource(**field)
