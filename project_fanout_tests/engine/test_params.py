"""Params: what the functions name is what run config takes, converted to its type or refused."""

import dataclasses
import datetime as dt
import enum
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import annotated_types as at
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr

from project_fanout.engine import Unit
from project_fanout.engine.errors import FanoutDefinitionError, InvalidParamsError
from project_fanout.engine.params import Params
from project_fanout.engine.settings import Bounds

if TYPE_CHECKING:
    pass


@dataclasses.dataclass(frozen=True)
class Size:
    """A width and a height in pixels."""

    width: int
    height: int = 1


@dataclasses.dataclass(frozen=True)
class Tags:
    """Words in no order."""

    words: set[str]


class Colour(enum.Enum):
    RED = "red"


class Opaque:
    """Something that run config cannot hold."""


def no_records() -> list[Any]:
    """Return no record and take no params."""
    return []


def stage_of(annotation: Any, default: Any = dataclasses.MISSING) -> Callable[..., None]:
    """Return a stage with one param `value` of this type and default."""

    def stage(unit: Unit, *, value: Any) -> None: ...

    stage.__annotations__["value"] = annotation
    stage.__kwdefaults__ = None if default is dataclasses.MISSING else {"value": default}
    return stage


def read(annotation: Any, value: Any) -> Any:
    """Return what a stage with a param of this type gets for this value."""
    return Params(no_records, [stage_of(annotation)]).read({"value": value})["value"]


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, "123", 123),
        (int, 123, 123),
        (int, 5.0, 5),
        (float, "0.5", 0.5),
        (float, 3, 3.0),
        (bool, "true", True),
        (bool, "off", False),
        (bool, True, True),
        (str, "x", "x"),
        (Path, "some/where", Path("some/where")),
        (list[int], ["1", 2], [1, 2]),
        (list, [1, "a"], [1, "a"]),
        (tuple[int, ...], [1, 2], (1, 2)),
        (set[str], ["a", "a"], {"a"}),
        (dict[str, int], {"webp": "80"}, {"webp": 80}),
        (Optional[int], None, None),  # noqa: UP045  # users write both
        (Optional[int], "7", 7),  # noqa: UP045  # the same
        (int | None, "7", 7),
        (int | str, "7", "7"),
        (Literal["webp", "avif"], "avif", "avif"),
        (Literal[1, 2], 2, 2),
        (Size, {"width": "640"}, Size(640)),
        (list[Size], [{"width": 1, "height": 2}], [Size(1, 2)]),
        (Colour, "red", Colour.RED),
        (dt.date, "2026-02-28", dt.date(2026, 2, 28)),
        (Annotated[int, "Pixels.", at.Ge(1)], "1", 1),
        (Annotated[int, at.Interval(ge=1, le=9)], 9, 9),
        (Annotated[str, at.MinLen(2)], "ab", "ab"),
        (Any, {"any": ["thing"]}, {"any": ["thing"]}),
        (int | bool, True, True),
        (set[bool | int], [3, True], {3, True}),
        (dict[str, Any], {"a": True}, {"a": True}),
        (bool, 1, True),
    ],
)
def test_a_value_becomes_what_the_annotation_says(annotation: Any, value: Any, expected: Any) -> None:
    """Text "123" for an int is 123; text, lists and dicts become paths, tuples and dataclasses."""
    got = read(annotation, value)
    assert (type(got), got) == (type(expected), expected)


@pytest.mark.parametrize(
    ("annotation", "value", "accepted"),
    [
        (int, "12a", "int"),
        (int, None, "int"),
        (int, 1.5, "int"),
        (int, [1], "int"),
        (float, "much", "float"),
        (bool, "perhaps", "bool"),
        (bool, 2, "bool"),
        (str, 5, "str"),
        (list[int], "1", "list[int]"),
        (list[int], [1, "x"], "list[int]"),
        (dict[str, int], ["a"], "dict[str, int]"),
        (int | None, "x", "int | None"),
        (Literal["webp", "avif"], "gif", "one of 'webp', 'avif'"),
        (Size, {"height": 1}, "Size"),
        (Annotated[int, at.Ge(1)], 0, "int, 1 or more"),
        (Annotated[int, at.Interval(ge=1, le=9)], 10, "int, 1 to 9"),
        (Annotated[float, at.Gt(0), at.Lt(1)], 1, "float, more than 0, less than 1"),
        (Annotated[int, Field(ge=3, description="Three.")], 2, "int, 3 or more"),
        (Annotated[str, at.MinLen(1)], "", "str, at least 1 long"),
        (Annotated[list[str], at.MaxLen(1)], ["a", "b"], "list[str], at most 1 long"),
        (Annotated[int, at.MultipleOf(2)], 3, "int, a multiple of 2"),
        (Annotated[int, at.Le(9)], 10, "int, 9 or less"),
        (Annotated[int, Field(ge=1, le=9, multiple_of=2)], 3, "int, 1 to 9, a multiple of 2"),
        (Annotated[int, Bounds(ge=1, le=9)], 10, "int, 1 to 9"),
        (Annotated[str, at.Len(1, 2)], "abc", "str, at least 1 long, at most 2 long"),
        (list[Annotated[int, at.Ge(1), at.Le(9)]], [0], "list[int (1 to 9)]"),
        (int, True, "int"),
        (float, False, "float"),
        (int | str, True, "int | str"),
        (int | None, True, "int | None"),
        (Annotated[int, at.Ge(1)], True, "int, 1 or more"),
        (Literal[1, 2], True, "one of 1, 2"),
        (dt.timedelta, True, "timedelta"),
        (list[int], [1, True], "list[int]"),
        (tuple[float, ...], [True], "tuple[float, ...]"),
        (set[int], [5, False], "set[int]"),
        (dict[str, list[float]], {"a": [1, False]}, "dict[str, list[float]]"),
        (Size, {"width": True}, "Size"),
        (list[Size], [{"width": 1}, {"width": False}], "list[Size]"),
    ],
)
def test_a_value_of_another_type_is_refused(annotation: Any, value: Any, accepted: str) -> None:
    """The message names the param, its value and what is accepted. A boolean is no number, however deep it stands."""
    with pytest.raises(InvalidParamsError) as error:
        read(annotation, value)
    assert str(error.value).startswith(f"value is {value!r}, accepted: {accepted} (")


@pytest.mark.parametrize(
    "value",
    [{1: "a", "1": "b"}, [{"years": {True: 1, "true": 2}}], {"a": ({None: 0, "None": 1},)}],
)
def test_keys_that_are_one_in_run_config_are_refused(value: Any) -> None:
    """Run config is JSON: two keys that it would make one are named, as a value and as a default."""
    with pytest.raises(InvalidParamsError, match="whose keys differ as text"):
        Params(no_records, [stage_of(Any)]).read({"value": value})
    with pytest.raises(FanoutDefinitionError, match="whose keys differ as text"):
        Params(no_records, [stage_of(Any, value)])


@given(st.integers())
def test_any_int_may_be_written_as_text(number: int) -> None:
    """As schedulers and environment variables do."""
    assert read(int, str(number)) == number


def first(unit: Unit, *, shared: int = 1, mine: str = "a") -> None:
    """Take a param of its own and one that it shares."""


def second(unit: Unit, *, shared: int = 1, needed: Annotated[float, "Metres."]) -> None:
    """Take a required param and one that it shares."""


def test_each_function_has_its_say() -> None:
    """Params of all functions are one set, in order; a shared one is one value for both."""
    params = Params(no_records, [first, second])
    assert [(param.name, param.taken_by) for param in params] == [
        ("shared", ("first", "second")),
        ("mine", ("first",)),
        ("needed", ("second",)),
    ]
    assert params.read({"needed": "2"}) == {"shared": 1, "mine": "a", "needed": 2.0}


def test_everything_wrong_is_said_at_once() -> None:
    """Unknown, missing and wrong, each with the name and what is accepted."""
    with pytest.raises(InvalidParamsError) as error:
        Params(no_records, [first, second]).read({"shraed": 5, "mine": 7})
    text = str(error.value)
    assert "shraed is no param (its value: 5), accepted: shared, mine, needed" in text
    assert "mine is 7, accepted: str" in text
    assert "needed is missing, accepted: float" in text


def test_no_params_at_all() -> None:
    """Says so when one is given."""
    with pytest.raises(InvalidParamsError, match=r"x is no param .* accepted: none, it takes no params"):
        Params(no_records, [stage_of(int, 1)][:0]).read({"x": 1})


def test_an_asset_may_replace_defaults() -> None:
    """With values of the right type; then even a required param need not be given."""
    params = Params(no_records, [first, second], {"needed": "1.5", "mine": "b"})
    assert params.read({}) == {"shared": 1, "mine": "b", "needed": 1.5}
    assert params.read({"mine": "c"})["mine"] == "c"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"nobody": 1}, "params sets 'nobody', accepted: shared, mine, needed"),
        ({"needed": "far"}, "needed is 'far', accepted: float"),
        ({"shared": None}, "shared is None, accepted: int"),
    ],
)
def test_wrong_replacements_are_refused_when_built(settings: dict[str, Any], said: str) -> None:
    """Not in the first run."""
    with pytest.raises(FanoutDefinitionError) as error:
        Params(no_records, [first, second], settings)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (int, 5),
        (Path, Path("a/b")),
        (tuple[str, ...], ("a", "b")),
        (set[int], {1}),
        (frozenset[int], frozenset({1, 2})),
        (Size, Size(1, 2)),
        (dict[str, Size], {"a": Size(1)}),
        (dict[int, str], {1: "a"}),
        (Colour, Colour.RED),
        (dt.timedelta, dt.timedelta(seconds=90)),
        (float, math.inf),
        (bytes, b"abc"),
        (int | None, None),
        (int, None),
        (Annotated[int, at.Ge(1)], None),
        (Any, None),
        (str | Path, Path("docs")),
        (str | dt.date, dt.date(2026, 2, 28)),
        (Any, Path("docs")),
        (Any, (1, 2)),
        (dict, {1: "a"}),
        (Size | dict, Size(1)),
        (SecretStr, SecretStr("hunter2")),
    ],
    ids=str,
)
def test_a_default_survives_the_run_config(annotation: Any, default: Any) -> None:
    """The Launchpad shows the default as JSON, and what it sends back is the default again."""
    params = Params(no_records, [stage_of(annotation, default)])
    (param,) = params
    shown = None if param.default is None else param.to_json(param.default)
    assert params.read({"value": shown}) == params.read({}) == {"value": default}
    assert type(params.read({"value": shown})["value"]) is type(default)


def test_what_a_function_does_to_its_default_is_gone_in_the_next_run() -> None:
    """A list as a default is a new list in each run, whatever the last one has put into it."""
    params = Params(no_records, [stage_of(Any, ["a"])])
    params.read({})["value"].append("b")
    params.read({"value": ["a"]})["value"].append("b")
    assert params.read({}) == params.read({"value": ["a"]}) == {"value": ["a"]}


_FINGERPRINT = """
from project_fanout.engine.params import Params
from project_fanout.engine.settings import Bounds
from project_fanout_tests.engine.test_params import Tags, no_records, stage_of
values = {"a": {"x", "y", "z"}, "b": [{"x", "y", "z"}], "c": Tags({"x", "y", "z"}), "d": frozenset("xyz")}
stages = [stage_of(object, each) for each in values.values()]
for stage in stages:
    params = Params(no_records, [stage])
    print(params.to_json(params.read({})))
"""


def test_a_set_is_the_same_in_every_process() -> None:
    """The order of a set, which changes from process to process, does not make a unit another one."""
    printed = {
        subprocess.run(
            [sys.executable, "-c", _FINGERPRINT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(printed) == 1
    assert printed.pop().count("x") == 4


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (stage_of(int, "x"), "The default of stage: value is 'x', accepted: int"),
        (stage_of(Annotated[int, at.Le(3)], 4), "value is 4, accepted: int, 3 or less"),
        (stage_of(Opaque), "takes value: Opaque, which run config cannot hold"),
        (stage_of(Any, Opaque()), "which run config cannot hold"),
        (stage_of(bytes, b"\xff"), "takes value: bytes = b'\\xff', which run config cannot hold"),
        (stage_of("Decimal"), "cannot be read"),
        (stage_of("an int"), "cannot be read"),
        (stage_of("math.nothing"), "cannot be read"),
    ],
)
def test_params_that_cannot_work_are_refused_when_built(stage: Callable[..., None], said: str) -> None:
    """A default of a wrong type, a type that is no JSON, an annotation that cannot be read."""
    with pytest.raises(FanoutDefinitionError) as error:
        Params(no_records, [stage])
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (stage_of(int, 1), stage_of(int, 2)),
        (stage_of(int, 1), stage_of(float, 1)),
        (stage_of(int, 1), stage_of(int)),
        (stage_of(int, 1), stage_of(bool, True)),
        (stage_of(Annotated[int, at.Ge(1)], 1), stage_of(int, 1)),
    ],
)
def test_functions_that_disagree_are_refused_when_built(
    one: Callable[..., None], other: Callable[..., None]
) -> None:
    """One value goes to both, so type and default have to be the same; the message shows both."""
    with pytest.raises(FanoutDefinitionError) as error:
        Params(no_records, [one, other])
    text = str(error.value)
    assert "both take the param 'value' but declare it differently" in text
    shown = text.partition("(")[2].partition("): one value")[0].split(" and ")
    assert len(set(shown)) == 2, text
