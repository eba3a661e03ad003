"""The sensor on a folder of photographs, and the check of what runs have written."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from project_fanout.images.assets import WAREHOUSE, image_catalog, thumbnails
from project_fanout.images.catalog import shipped_photos
from project_fanout.images.checks import ALL_INTACT, damage, intact_check
from project_fanout.images.digests import sha256_of
from project_fanout.images.sensor import EXCLUDE_VARIABLE, FOLDER_VARIABLE, new_photographs, run_config
from project_fanout.images.warehouse import Warehouse
from project_fanout.orchestration import LedgerResource, UnitPoolResource
from project_fanout_tests.instances import local_instance

PHOTOS = sorted(
    each for each in shipped_photos().iterdir() if each.suffix in (".jpg", ".png", ".jpeg", ".webp")
)


class Folder:
    """A folder of photographs, and the sensor that looks at it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cursor: str | None = None
        path.mkdir()

    def add(self, photograph: Path, name: str | None = None, *, part: float = 1.0) -> Path:
        """Copy a photograph, or the first *part* of it, some time ago."""
        content = photograph.read_bytes()
        target = self.path / (name or photograph.name)
        target.write_bytes(content[: int(len(content) * part)])
        return target

    def tick(self, *, again: bool = False) -> Any:
        """Return what the sensor asks for; *again*: the cursor is not kept, as where the daemon ends meanwhile."""
        result = new_photographs(dg.build_sensor_context(cursor=self.cursor))
        if isinstance(result, dg.SensorResult) and not again:
            self.cursor = result.cursor
        return result

    def request(self) -> dg.RunRequest:
        """Return the run that the next tick asks for."""
        (request,) = self.tick().run_requests
        assert isinstance(request, dg.RunRequest)
        return request


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """An empty folder that the sensor looks at."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "photographs"))
    return Folder(tmp_path / "photographs")


def left_out(request: dg.RunRequest) -> list[str]:
    """Return which files the run leaves out."""
    names = request.run_config["ops"]["image_catalog"]["config"]["leave_out"]
    assert isinstance(names, list)
    return names


def test_a_new_file_requests_one_run(folder: Folder) -> None:
    """At the tick at which it has not changed since the last; then there is nothing to do."""
    folder.add(PHOTOS[0])
    assert "1 may still be being copied" in folder.tick().skip_reason.skip_message
    assert left_out(folder.request()) == []
    assert folder.tick().skip_reason.skip_message == "Nothing has changed in 1 files."


def test_a_file_that_is_still_being_copied_waits(folder: Folder) -> None:
    """It holds back no other, and the run leaves it out."""
    folder.add(PHOTOS[0])
    folder.add(PHOTOS[1], part=0.3)
    folder.tick()
    folder.add(PHOTOS[1], part=0.6)
    assert left_out(folder.request()) == [PHOTOS[1].name]
    folder.add(PHOTOS[1])
    assert "1 may still be being copied" in folder.tick().skip_reason.skip_message
    assert left_out(folder.request()) == []


def test_a_file_that_is_being_replaced_makes_no_run_of_its_own(folder: Folder) -> None:
    """Before it is whole again."""
    folder.add(PHOTOS[0])
    folder.tick()
    folder.request()
    folder.add(PHOTOS[1], PHOTOS[0].name, part=0.5)
    assert "1 may still be being copied" in folder.tick().skip_reason.skip_message
    folder.add(PHOTOS[1], PHOTOS[0].name)
    assert "1 may still be being copied" in folder.tick().skip_reason.skip_message
    assert left_out(folder.request()) == []


def test_a_tick_that_is_evaluated_again_asks_for_the_same_run(folder: Folder) -> None:
    """As after a restart of the daemon: Dagster makes one run of it, and none is lost."""
    folder.add(PHOTOS[0])
    folder.tick()
    first, second = folder.tick(again=True), folder.tick(again=True)
    assert first.run_requests[0].run_key == second.run_requests[0].run_key
    folder.cursor = first.cursor
    assert folder.tick().skip_reason is not None


def test_a_file_that_comes_back_as_it_was_is_a_run_of_its_own(folder: Folder) -> None:
    """Its run key is not that of the first time, of which Dagster would make no second run."""
    photograph = folder.add(PHOTOS[0])
    folder.add(PHOTOS[1])
    folder.tick()
    keys = [folder.request().run_key]
    aside = folder.path.parent / "aside.jpg"
    shutil.move(photograph, aside)
    keys.append(folder.request().run_key)
    shutil.move(aside, photograph)
    folder.tick()
    keys.append(folder.request().run_key)
    assert len(set(keys)) == 3


def test_without_a_folder_it_says_why_it_does_nothing(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is not set, or names no folder."""
    folder.path.rmdir()
    assert "cannot be listed" in folder.tick().skip_message
    monkeypatch.delenv(FOLDER_VARIABLE)
    assert f"{FOLDER_VARIABLE} is not set" in folder.tick().skip_message


def test_what_is_excluded_is_no_reason_for_a_run(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the run that another file asks for excludes it, too."""
    monkeypatch.setenv(EXCLUDE_VARIABLE, "*.heic, Private")
    folder.add(PHOTOS[0], "phone.HEIC")
    (folder.path / "private").mkdir()
    folder.add(PHOTOS[0], "private/a.jpg")
    folder.tick()
    assert folder.tick().skip_reason.skip_message == "Nothing has changed in 0 files."
    folder.add(PHOTOS[0])
    folder.tick()
    config = folder.request().run_config["ops"]["image_catalog"]["config"]
    assert config["exclude"] == ["*.heic", "Private"]


def make(home: Path, request: dg.RunRequest) -> pd.DataFrame:
    """Materialise the thumbnails of what *request* asks for, and return the last run's metadata as a frame's row."""
    output = str(home / "thumbnails")
    config: Any = dict(request.run_config["ops"])
    policy = config["thumbnails"]["config"]["policy"]
    ops = {
        "image_catalog": config["image_catalog"],
        "thumbnails": {"config": {"policy": policy, "params": {"output_dir": output}}},
    }
    with local_instance(home) as instance:
        result = dg.materialize(
            [image_catalog, thumbnails, intact_check("thumbnails")],
            instance=instance,
            run_config={"ops": ops},
            resources={
                WAREHOUSE: Warehouse(database=str(home / "warehouse.duckdb")),
                "unit_pool": UnitPoolResource(kind="inline"),
                "ledger": LedgerResource(),
            },
        )
        (event,) = result.asset_materializations_for_node("thumbnails")
        checks = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
    row = {name: event.metadata[name].value for name in ("units", "reused") if name in event.metadata}
    return pd.DataFrame([{"reused": 0, **row, "intact": checks[ALL_INTACT]}])


@pytest.mark.slow
def test_a_run_renders_only_what_has_changed(folder: Folder, tmp_path: Path) -> None:
    """A new photograph, one with another content under the same name, and a rendition that somebody has removed."""
    home = tmp_path / "home"
    folder.add(PHOTOS[0])
    folder.add(PHOTOS[1], "other.png")
    folder.tick()
    first = make(home, folder.request()).iloc[0]
    assert (first["units"], first["reused"], first["intact"]) == (4, 0, True)

    folder.add(PHOTOS[2])
    folder.tick()
    second = make(home, folder.request()).iloc[0]
    assert (second["units"], second["reused"]) == (6, 4)

    changed = folder.add(PHOTOS[3], "other.png")
    os.utime(changed, (time.time() - 60, time.time() - 60))
    folder.tick()
    third = make(home, folder.request()).iloc[0]
    assert (third["units"], third["reused"]) == (6, 4)

    removed = next((home / "thumbnails").rglob("96.webp"))
    removed.unlink()
    last = make(home, dg.RunRequest(run_config=run_config(str(folder.path)))).iloc[0]
    assert (last["units"], last["reused"], last["intact"]) == (6, 5, True)
    assert removed.exists()


def test_a_damaged_rendition_fails_its_check(tmp_path: Path) -> None:
    """Missing, changed, or of a release that kept no digest: each is named."""
    rows = []
    for name in ("fine", "missing", "changed", "old"):
        (tmp_path / name).write_text(name)
        digest = None if name == "old" else sha256_of(tmp_path / name)
        rows.append({"record_key": "r", "unit_key": name, "path": str(tmp_path / name), "sha256": digest})
    (tmp_path / "missing").unlink()
    (tmp_path / "changed").write_text("other")
    assert damage(rows)[["unit_key", "problem"]].to_numpy().tolist() == [
        ["missing", "it is missing"],
        ["changed", "its content has changed"],
        ["old", "its digest is not known: it was written by an earlier release"],
    ]
