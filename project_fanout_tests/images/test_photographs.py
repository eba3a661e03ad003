"""Which renditions a photograph gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from project_fanout.images.catalog import find_pictures
from project_fanout.images.photographs import fitting_widths, read_photographs
from project_fanout.images.pictures import PictureError
from project_fanout.images.pixels import scaled_height
from project_fanout.images.settings import DEFAULT_WIDTHS, Formats, OutputDir, Quality, Widths
from project_fanout.images.tables import catalog_table
from project_fanout_tests.images.samples import bad_pictures, quadrants


def records(source=None, **params):
    """Return the records for the pictures in a folder, by default the shipped photographs."""
    return list(read_photographs(catalog_table(find_pictures(source).pictures), **params))


def test_every_shipped_photograph_gets_10_to_30_renditions():
    """The demonstration is of the size that the project is for."""
    units = {record.key: [unit.key for unit in record.units] for record in records()}
    assert units["chelsea.png"] == [
        f"{name}-{width}" for name in ("avif", "webp", "jpeg") for width in (160, 240, 320, 451)
    ]
    assert all(10 <= len(keys) <= 30 for keys in units.values())
    assert list(units) == [
        "astronaut.png",
        "chelsea.png",
        "coffee.png",
        "hubble_deep_field.jpg",
        "rocket.jpg",
    ]


@given(st.integers(1, 20_000), st.lists(st.integers(1, 16_383), min_size=1))
def test_nothing_is_enlarged_and_the_largest_possible_is_made(own, widths):
    """Widths never exceed the photograph's own, and the largest is as large as both allow."""
    fitting = fitting_widths(own, widths)
    assert fitting == sorted(set(fitting))
    assert set(fitting) <= {*widths, own}
    assert fitting[-1] == min(own, max(widths))
    assert {width for width in widths if width <= own} <= set(fitting)


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(1, 20_000))
def test_the_aspect_ratio_is_kept_to_the_nearest_pixel(width, full_width, full_height):
    """No rendition is off by more than half a pixel, and none is without height."""
    exact = full_height * width / full_width
    assert scaled_height(width, full_width, full_height) == pytest.approx(max(exact, 1), abs=0.5)


def test_a_large_photograph_gets_every_width_once():
    """From 1,920 pixels on a photograph gets all widths: 30 renditions in three formats."""
    assert fitting_widths(1920, DEFAULT_WIDTHS) == fitting_widths(8000, DEFAULT_WIDTHS) == DEFAULT_WIDTHS
    assert len(DEFAULT_WIDTHS) * 3 == 30


def test_formats_and_widths_can_be_chosen_in_any_order_and_twice():
    """What is asked for twice is made once."""
    (first, *_) = records(formats=["jpeg", "avif", "jpeg"], widths=[320, 160, 320])
    assert [unit.key for unit in first.units] == ["jpeg-160", "jpeg-320", "avif-160", "avif-320"]


def test_a_bad_picture_is_a_record_that_will_fail_with_its_reason(tmp_path):
    """Each bad picture counts as one failed unit, so that max_failed_ratio decides, and none is missing."""
    reasons = bad_pictures(tmp_path)
    quadrants().save(tmp_path / "good.png")
    found = {record.key: record.units for record in records(tmp_path)}
    assert set(found) == {*reasons, "good.png"}
    for file, reason in reasons.items():
        (unit,) = found[file]
        assert reason in unit.payload["problem"]


@pytest.mark.parametrize("inside", ["", "web", "a/b"])
def test_renditions_do_not_go_among_the_photographs(tmp_path, inside):
    """An output folder within the photographs would be catalogued by the next run: refused."""
    quadrants().save(tmp_path / "photo.png")
    with pytest.raises(PictureError, match=r"output_dir is .*, within the folder of the photographs"):
        records(tmp_path, output_dir=str(tmp_path / inside))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Formats, ["gif"]),
        (Formats, []),
        (Widths, [0]),
        (Widths, [20_000]),
        (Widths, []),
        (Quality, {"gif": 80}),
        (Quality, {"webp": 0}),
        (Quality, {"webp": 101}),
        (OutputDir, ""),
    ],
)
def test_params_out_of_bounds_are_refused(annotation, value):
    """The annotations that the run config is checked against say what is accepted."""
    with pytest.raises(ValidationError):
        TypeAdapter(annotation).validate_python(value)
