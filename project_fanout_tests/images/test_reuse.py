"""Reuse looks: at what the photograph holds, and whether its renditions are still there."""

import shutil
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image

from project_fanout.engine import Unit
from project_fanout.images.assets import image_catalog, web_renditions
from project_fanout.images.catalog import find_pictures
from project_fanout.images.photographs import read_photographs
from project_fanout.images.pictures import PictureError
from project_fanout.images.renditions import render
from project_fanout.images.tables import catalog_table
from project_fanout.orchestration import UnitPoolResource
from project_fanout_tests.images.samples import BLUE, RED, alike
from project_fanout_tests.instances import local_instance


class Gallery:
    """A folder with one photograph, and a Dagster that renders it with `reuse: always`."""

    def __init__(self, home: Path) -> None:
        self.home, self.output = home, home / "renditions"
        self.photograph = home / "photographs" / "a.png"
        self.photograph.parent.mkdir()

    def put(self, colour: tuple[int, ...]) -> None:
        """Put a photograph in the place of the one before: of the same name, and of as many bytes."""
        Image.new("RGB", (80, 60), colour).save(self.photograph, compress_level=0)

    def run(self) -> int:
        """Render it in three formats; return how many results an earlier run's were taken for."""
        params = {"output_dir": str(self.output), "widths": [40]}
        with local_instance(self.home) as instance:
            result = dg.materialize(
                [image_catalog, web_renditions],
                instance=instance,
                resources={"warehouse": dg.mem_io_manager, "unit_pool": UnitPoolResource(kind="inline")},
                run_config={
                    "ops": {
                        "image_catalog": {"config": {"source_dir": str(self.photograph.parent)}},
                        "web_renditions": {"config": {"params": params, "policy": {"reuse": "always"}}},
                    }
                },
            )
        (event,) = result.asset_materializations_for_node("web_renditions")
        reused = event.metadata.get("reused")
        return int(reused.value) if reused is not None else 0

    def colours(self) -> dict[str, tuple[int, ...]]:
        """Return what there is to see, by format."""
        seen = {}
        for path in self.output.glob("a.png/*"):
            with Image.open(path) as picture:
                seen[path.suffix] = picture.convert("RGB").getpixel((20, 15))
        return seen


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """One without a photograph yet."""
    return Gallery(tmp_path)


def test_what_is_shown_is_what_the_folder_holds(gallery: Gallery) -> None:
    """After a photograph was replaced by another of the same name and size, and after the renditions were removed."""
    gallery.put(RED)
    size = gallery.photograph.stat().st_size
    assert gallery.run() == 0
    assert gallery.run() == 3
    gallery.put(BLUE)
    assert gallery.photograph.stat().st_size == size
    assert gallery.run() == 0
    assert all(alike(colour, BLUE) for colour in gallery.colours().values())
    shutil.rmtree(gallery.output)
    assert gallery.run() == 0
    assert len(gallery.colours()) == 3
    gallery.put(RED)  # which an earlier run has rendered: to files that show something else now
    gallery.run()
    assert all(alike(colour, RED) for colour in gallery.colours().values())


def test_a_photograph_that_is_replaced_between_catalogue_and_fan_out_is_refused(tmp_path: Path) -> None:
    """Its renditions would count as those of the photograph before, also once that is back."""
    gallery = Gallery(tmp_path)
    gallery.put(RED)
    catalog = catalog_table(find_pictures(gallery.photograph.parent).pictures)
    (record,) = read_photographs(catalog, widths=[40], output_dir=str(gallery.output))
    gallery.put(BLUE)
    unit: Unit = record.units[0]
    with pytest.raises(PictureError, match="has changed: other content than when catalogued; materialise"):
        render(unit, output_dir=str(gallery.output))
    assert not gallery.output.exists()
