"""What the steps store for each other: once, and for as long as a run may still need it."""

from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from project_fanout.orchestration import LedgerResource, UnitPoolResource, build_fanout_asset
from project_fanout_tests.instances import new_home
from project_fanout_tests.orchestration import fault_jobs
from project_fanout_tests.orchestration.fault_work import FOLDER, RECORDS, journal
from project_fanout_tests.orchestration.unit_faults import large_units, obey, only_length

PAYLOAD_BYTES = 50_000


def run(tmp_path: Path, *, ledger: bool = True, order: Any = None, **policy: Any) -> tuple[bool, list[str]]:
    """Materialise an asset of two stages; return whether that went well, and the files that are left."""
    lengths = build_fanout_asset("lengths", records=large_units, stages=[obey, only_length])
    config = {"params": {"size": PAYLOAD_BYTES, "order": order}, "policy": policy}
    storage = tmp_path / "storage"
    result = dg.materialize(
        [lengths],
        resources={
            "unit_pool": UnitPoolResource(kind="inline"),
            "ledger": LedgerResource(url=str(tmp_path / "ledger.db"), enabled=ledger),
            "io_manager": dg.FilesystemIOManager(base_dir=str(storage)),
        },
        run_config={"ops": {"lengths": {"config": config}}},
        raise_on_error=False,
    )
    files = [path.relative_to(storage) for path in storage.rglob("*") if path.is_file()]
    # What belongs to this run is named without its id.
    left = ["/".join(file.parts[1:]) if file.parts[0] == result.run_id else str(file) for file in files]
    assert [path for path in storage.rglob("*") if path.is_dir() and not any(path.iterdir())] == []
    return result.success, sorted(left)


KEPT = [
    "lengths.record.only_length[one]/result",
    "lengths.record.only_length[two]/result",
    "lengths.record.process_record[one]/result",
    "lengths.record.process_record[two]/result",
    "lengths.trigger_records/manifest",
    "lengths.trigger_records/records/one",
    "lengths.trigger_records/records/two",
]


def test_a_finished_run_leaves_nothing_but_the_asset(tmp_path: Path) -> None:
    """When the asset has materialised, what its steps stored for each other is gone."""
    assert run(tmp_path) == (True, ["lengths"])


@pytest.mark.parametrize(
    ("changes", "asset"),
    [
        ({"order": ["raise_error", 0]}, []),
        ({"keep_intermediates": True}, ["lengths"]),
        ({"ledger": False}, ["lengths"]),
    ],
    ids=["failed", "keep_intermediates", "without a ledger"],
)
def test_what_may_still_be_needed_stays(tmp_path: Path, changes: dict[str, Any], asset: list[str]) -> None:
    """A failed run keeps what its resume needs, and any run if told so or if nothing else has the outcomes."""
    success, left = run(tmp_path, **changes)
    assert success is bool(asset)
    assert left == sorted([*asset, *KEPT])


def test_a_payload_is_stored_once_by_the_trigger(tmp_path: Path) -> None:
    """The manifest names the records and holds no second copy of their units."""
    run(tmp_path, keep_intermediates=True)
    sizes = {path.name: path.stat().st_size for path in tmp_path.rglob("lengths.trigger_records/**/*")}
    assert sizes["one"] > PAYLOAD_BYTES
    assert sizes["manifest"] < 1000


def test_a_single_record_is_executed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With keep_intermediates one record of a run that succeeded is run again, and the asset made anew."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    home = new_home(tmp_path / "home")
    policy = {"keep_intermediates": True, "reuse": "never"}
    with dg.DagsterInstance.from_config(str(home)) as instance:
        defs = fault_jobs.definitions("fanout")
        first = fault_jobs.run("fanout", instance, **policy)
        assert first.success
        before = defs.load_asset_value("squares", instance=instance)
        [chosen] = {
            event.step_key.partition("[")[2]
            for event in first.all_events
            if event.step_key and event.step_key.startswith("squares.record.square[record_1_")
        }
        steps = [f"squares.record.{op}[{chosen}" for op in ("process_record", "square")]
        again = dg.ReexecutionOptions(
            parent_run_id=first.run_id, step_selection=[*steps, "squares.collect_records"]
        )
        begun = len(journal(tmp_path, "begun"))
        second = fault_jobs.run("fanout", instance, again, **policy)
        assert second.success
        after = defs.load_asset_value("squares", instance=instance)
    assert len(journal(tmp_path, "begun")) - begun == begun // RECORDS
    pd.testing.assert_frame_equal(before.drop(columns="seconds"), after.drop(columns="seconds"))
