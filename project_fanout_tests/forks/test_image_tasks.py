"""The image task: what comes out is opened and measured."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from project_fanout.engine import Unit
from project_fanout.engine.errors import InvalidParamsError
from project_fanout.engine.params import Params
from project_fanout.forks.actions import Actions
from project_fanout.forks.fetching import FileLocationError, RemoteFiles
from project_fanout.forks.image_fork import image_tasks
from project_fanout.forks.image_tasks import (
    convert_picture,
    fetch_picture,
    fitted,
    image_convert_resize,
    resize_picture,
    verify_picture,
)
from project_fanout.images.pictures import PictureError
from project_fanout_tests.forks.servers import content, serving
from project_fanout_tests.images.samples import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    alike,
    quadrants,
    quarter_colours,
    with_orientation,
)

NO_HOSTS = RemoteFiles()


@pytest.fixture
def photo(tmp_path):
    """A picture of 120 x 80 pixels: red and green above blue and white."""
    quadrants().save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def as_one_task(reference, output_dir, remote=NO_HOSTS, **inputs):
    """Run the task, as a worker does."""
    return image_convert_resize(
        Unit(reference, inputs), output_dir=str(output_dir), remote_files=remote, **inputs
    )


def as_workflow(
    reference,
    output_dir,
    remote=NO_HOSTS,
    *,
    fileLocation,
    outputFormat,
    outputWidth,
    outputHeight,
    maintainAspectRatio=True,
):
    """Run the four stages one after the other, each with what the one before returned, as JSON."""
    sizes = {"outputWidth": outputWidth, "outputHeight": outputHeight}

    def unit(payload):
        return Unit(reference, json.loads(json.dumps(payload)))

    made = fetch_picture(unit({}), fileLocation=fileLocation, output_dir=str(output_dir), remote_files=remote)
    made = resize_picture(unit(made), maintainAspectRatio=maintainAspectRatio, **sizes)
    made = convert_picture(unit(made), outputFormat=outputFormat, output_dir=str(output_dir))
    return verify_picture(unit(made), outputFormat=outputFormat)


both_ways = pytest.mark.parametrize("run", [as_one_task, as_workflow])


@both_ways
@pytest.mark.parametrize(
    ("name", "format_"),
    [("png", "PNG"), ("jpg", "JPEG"), ("jpeg", "JPEG"), ("webp", "WEBP"), ("avif", "AVIF")],
)
def test_every_format(run, name, format_, photo, tmp_path):
    """Each format is what it says, in the size that the output tells, and shows the same picture."""
    made = run(
        "a", tmp_path / "out", fileLocation=str(photo), outputFormat=name, outputWidth=60, outputHeight=60
    )
    assert made["path"] == str(tmp_path / "out" / f"a.{name}")
    with Image.open(made["path"]) as picture:
        assert picture.format == format_
        assert picture.size == (60, 40) == (made["width"], made["height"])
        assert all(map(alike, quarter_colours(picture), (RED, GREEN, BLUE, WHITE))), quarter_colours(picture)
    assert made["bytes"] == (tmp_path / "out" / f"a.{name}").stat().st_size


@both_ways
@pytest.mark.parametrize(
    ("keep", "width", "height", "size"),
    [
        (True, 60, 60, (60, 40)),
        (True, 60, 20, (30, 20)),
        (False, 60, 60, (60, 60)),
        (False, 10, 77, (10, 77)),
        (True, 360, 360, (360, 240)),
        (False, 360, 500, (360, 500)),
        (True, 1, 1, (1, 1)),
    ],
)
def test_aspect_ratio_and_size(run, keep, width, height, size, photo, tmp_path):
    """The picture fits the size and keeps its shape, or is stretched to it; a larger one enlarges it."""
    made = run(
        "a",
        tmp_path,
        fileLocation=photo.as_uri(),
        outputFormat="png",
        outputWidth=width,
        outputHeight=height,
        maintainAspectRatio=keep,
    )
    with Image.open(made["path"]) as picture:
        assert picture.size == size


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@both_ways
def test_a_photograph_is_upright(run, orientation, tmp_path):
    """A photograph that was taken with the camera turned comes out upright, whatever its size is stored as."""
    photo = with_orientation(tmp_path / "photo.jpg", orientation)
    made = run(
        "a", tmp_path / "out", fileLocation=str(photo), outputFormat="png", outputWidth=60, outputHeight=60
    )
    with Image.open(made["path"]) as picture:
        assert picture.size == (60, 40)
        assert all(map(alike, quarter_colours(picture), (RED, GREEN, BLUE, WHITE)))


@both_ways
def test_transparency(run, tmp_path):
    """What is transparent stays so in PNG, and is white in JPEG."""
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(tmp_path / "glass.png")
    inputs = {"fileLocation": str(tmp_path / "glass.png"), "outputWidth": 10, "outputHeight": 10}
    with Image.open(run("a", tmp_path, outputFormat="png", **inputs)["path"]) as picture:
        assert picture.getpixel((5, 5))[3] == 0
    with Image.open(run("b", tmp_path, outputFormat="jpg", **inputs)["path"]) as picture:
        assert alike(picture.getpixel((5, 5)), (255, 255, 255))


@both_ways
@pytest.mark.parametrize(
    "reference",
    ["../../x", "/etc/x", "..", "a/b", "a\\b", "C:\\x", ".hidden", "x" * 300, "Ünïcode ☃", "con\0trol"],
)
def test_no_reference_leads_out_of_the_output_folder(run, reference, photo, tmp_path):
    """Whatever a task is called, its picture is one file in the output folder."""
    before = set(tmp_path.rglob("*"))
    out = tmp_path / "deep" / "out"
    made = run(reference, out, fileLocation=str(photo), outputFormat="png", outputWidth=9, outputHeight=9)
    files = [path for path in set(tmp_path.rglob("*")) - before if path.is_file()]
    assert [str(path) for path in files] == [made["path"]]
    assert files[0].parent == out


@both_ways
def test_references_that_look_alike_have_files_of_their_own(run, photo, tmp_path):
    """References that differ in what a file name cannot hold do not overwrite each other."""
    inputs = {"fileLocation": str(photo), "outputFormat": "png", "outputWidth": 9, "outputHeight": 9}
    paths = {
        run(reference, tmp_path / "out", **inputs)["path"].lower() for reference in ("a/b", "a-b", "A-B")
    }
    assert len(paths) == 3


@both_ways
@pytest.mark.parametrize(
    ("location", "error", "said"),
    [
        ("{folder}/gone.png", PictureError, "does not exist"),
        ("{folder}/text.png", PictureError, "not an image file"),
        ("{folder}", PictureError, "not a file but a folder"),
        ("ftp://host/a.png", FileLocationError, "'ftp'"),
        ("https://pbs.twimg.com/a.png", FileLocationError, "accepted: none"),
    ],
)
def test_what_is_no_picture(run, location, error, said, tmp_path):
    """The reason is said, and nothing is left behind."""
    (tmp_path / "text.png").write_text("Dear Sir or Madam")
    location = location.format(folder=tmp_path)
    with pytest.raises(error, match=said) as refused:
        run("a", tmp_path / "out", fileLocation=location, outputFormat="png", outputWidth=9, outputHeight=9)
    assert "Dear" not in str(refused.value), "what a file holds is nobody's business"
    assert list((tmp_path / "out").glob(".work/*")) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "text.png"]


@both_ways
def test_a_size_that_would_fill_the_memory(run, photo, tmp_path):
    """A size of hundreds of megapixels is refused before a pixel is made."""
    with pytest.raises(PictureError, match="268,402,689 pixels, accepted: 89,478,485 or fewer"):
        run("a", tmp_path, fileLocation=str(photo), outputFormat="png", outputWidth=16383, outputHeight=16383)


@both_ways
def test_a_picture_from_an_allowed_host(run, photo, tmp_path, monkeypatch):
    """The file of an allowed host is taken, and no copy of it stays."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving({"/a": content(photo.read_bytes())}) as (host, _):
        made = run(
            "a",
            tmp_path / "out",
            RemoteFiles((host,)),
            fileLocation=f"http://{host}/a",
            outputFormat="jpg",
            outputWidth=60,
            outputHeight=60,
        )
    assert [str(path) for path in (tmp_path / "out").rglob("*") if path.is_file()] == [made["path"]]


@pytest.mark.parametrize(
    ("size", "box", "fits"),
    [
        ((900, 600), (300, 300), (300, 200)),
        ((600, 900), (300, 300), (200, 300)),
        ((100, 100), (300, 200), (200, 200)),
        ((10_000, 1), (300, 300), (300, 1)),
        ((3, 2), (301, 201), (301, 201)),
    ],
)
def test_fitted(size, box, fits):
    """The largest size of the same shape that fits, to the nearest pixel."""
    assert fitted(*size, *box) == fits


def test_references_and_inputs_of_the_tasks():
    """Formats, then sizes, numbered from 0, as in Conductor's example; text and numbers as given."""
    made = image_tasks(
        fileLocation="a.png",
        outputFormats=["webp", "avif"],
        outputSizes=[{"width": 3, "height": 4}],
        maintainAspectRatio=False,
    )
    assert made == {
        "dynamicTasks": [
            {"name": "image_convert_resize", "taskReferenceName": "image_convert_resize_webp_3x4_0"},
            {"name": "image_convert_resize", "taskReferenceName": "image_convert_resize_avif_3x4_1"},
        ],
        "dynamicTasksInput": {
            f"image_convert_resize_{name}_3x4_{index}": {
                "fileLocation": "a.png",
                "outputFormat": name,
                "outputWidth": 3,
                "outputHeight": 4,
                "maintainAspectRatio": False,
            }
            for index, name in enumerate(["webp", "avif"])
        },
    }


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ({"width": 3, "height": 4, "depth": 5}, "0.depth"),
        ({"width": 3, "height": 4, "Width": 5}, "0.Width"),
        ({"width": True, "height": 4}, "0.width is a boolean, no number"),
        ({"width": 3}, "0.height"),
        ({"width": 3, "heigth": 4}, "0.heigth"),
    ],
)
def test_a_size_is_a_width_and_a_height(size, said):
    """A key that is neither is refused by its name, and so is a boolean in their place."""
    with pytest.raises(InvalidParamsError) as refused:
        Params(image_tasks, []).read({"outputSizes": [size]})
    assert "outputSizes is " in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize("side", ["outputWidth", "outputHeight"])
def test_a_boolean_is_no_side(side):
    """True makes no picture of one pixel."""
    sides = {"outputWidth": 3, "outputHeight": 4, side: True}
    with pytest.raises(InvalidParamsError, match=f"{side} is True, accepted: int, 1 to 16383"):
        Actions([image_convert_resize], supplied={"remote_files": None}).find("image_convert_resize").plan(
            {"fileLocation": "a.png", "outputFormat": "png", **sides}
        )


def test_a_worker_that_makes_pictures_imports_little():
    """The stages' module brings neither Dagster nor pandas nor pydantic into a worker."""
    code = (
        "import sys, project_fanout.forks.image_tasks; "
        "print(*({'dagster', 'pandas', 'pydantic', 'sqlalchemy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
