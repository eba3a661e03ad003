"""Strangers' bytes: what they do to a decoder neither holds up nor ends the run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image, PngImagePlugin

from project_fanout.engine import ProcessPool
from project_fanout.images.assets import thumbnails, web_renditions
from project_fanout.images.catalog import Catalog, find_pictures
from project_fanout_tests.images.samples import quadrants
from project_fanout_tests.processes import ROOT


def many_scans(path: Path, scans: int = 2000) -> None:
    """Write a JPEG of a few hundred kB that repeats its last scan, so that decoding it takes minutes."""
    Image.new("L", (6000, 6000), 100).save(path, "JPEG", progressive=True, quality=20)
    content = path.read_bytes()
    last = content.rfind(b"\xff\xda")
    path.write_bytes(content[:last] + content[last:-2] * scans + b"\xff\xd9")


def test_a_picture_that_takes_too_long_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    """Its decoder is stopped in the middle of its work."""
    many_scans(tmp_path / "slow.jpg")
    quadrants().save(tmp_path / "good.jpg")
    with ProcessPool(2) as pool:
        catalog = find_pictures(tmp_path, pool=pool, seconds=1.0)
    assert [each.file for each in catalog.readable] == ["good.jpg"]
    (slow,) = catalog.unreadable
    assert slow.bytes == (tmp_path / "slow.jpg").stat().st_size
    assert slow.problem == "reading it takes more than 1 s; save it anew, or raise seconds_per_picture"


def test_a_picture_whose_decoder_ends_its_process_is_named(tmp_path: Path) -> None:
    """As one does that the system kills for its memory."""
    many_scans(tmp_path / "slow.jpg")
    quadrants().save(tmp_path / "good.jpg")
    with ProcessPool(1) as pool:
        inspected = _in_thread(lambda: find_pictures(tmp_path, pool=pool))
        while not pool.pids or not _is_busy(pool.pids[0]):
            time.sleep(0.02)
        os.kill(pool.pids[0], signal.SIGKILL)
        catalog = inspected()
    assert [each.file for each in catalog.readable] == ["good.jpg"]
    assert "cannot be read: " in str(catalog.unreadable[0].problem)


def test_an_interrupt_ends_a_run_that_reads_a_slow_picture(tmp_path: Path) -> None:
    """As Ctrl-C and the button in the UI do, and its worker with it."""
    (tmp_path / "photos").mkdir()
    many_scans(tmp_path / "photos" / "slow.jpg")
    code = (
        "import dagster as dg, sys\n"
        "from project_fanout.images.assets import image_catalog\n"
        "config = {'ops': {'image_catalog': {'config': {'source_dir': sys.argv[1]}}}}\n"
        "dg.materialize([image_catalog], resources={'warehouse': dg.mem_io_manager}, run_config=config)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "photos")],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        while not (workers := [pid for pid in _children(run.pid) if _is_busy(pid)]):
            assert run.poll() is None
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=20)[1]
    assert run.returncode != 0
    assert "Interrupt" in said
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def _in_thread(function: Callable[[], Catalog]) -> Callable[[], Catalog]:
    """Return what waits for *function*, which runs meanwhile."""
    executor = ThreadPoolExecutor(1)
    future = executor.submit(function)
    executor.shutdown(wait=False)
    return future.result


def _children(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        children += [int(each) for each in task.read_text().split()]
    return [*children, *(grandchild for child in children for grandchild in _children(child))]


def _is_busy(pid: int) -> bool:
    """Whether a process has the slow picture open."""
    try:
        return any("slow.jpg" in os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("kind", ["iTXt", "packed iTXt", "tEXt", "packed zTXt", "many"])
def test_a_png_with_much_text_is_a_picture(tmp_path: Path, kind: str, place: str) -> None:
    """What programs write beside the pixels is of no concern, however much it is."""
    info = PngImagePlugin.PngInfo()
    text = "x" * 2_000_000
    if kind == "many":
        for number in range(80):
            info.add_itxt(f"part {number}", "y" * 1_000_000, zip=True)
    elif kind.endswith("iTXt"):
        info.add_itxt("XML:com.adobe.xmp", text, zip="packed" in kind)
    else:
        info.add_text("Comment", text, zip="packed" in kind)
    info.chunks = [(name, content, place == "after") for name, content, _ in info.chunks]
    # The keywords that Pillow keeps with what it has found out itself.
    info.add_text("transparency", "no number")
    info.add_text("icc_profile", "none")
    quadrants().save(tmp_path / "a.png", pnginfo=info)
    (picture,) = find_pictures(tmp_path).pictures
    assert (picture.problem, picture.width) == (None, 120)


@pytest.mark.parametrize("fanout", [web_renditions, thumbnails])
def test_a_rendition_has_a_deadline(fanout: dg.AssetsDefinition) -> None:
    """As the Launchpad shows it: what the catalogue could read in time holds up no fan-out for ever."""
    policy = fanout.node_def.config_schema.config_type.fields["policy"]  # type: ignore[union-attr]
    assert policy.config_type.fields["unit_timeout_s"].description.endswith("Default: 600.0.")
