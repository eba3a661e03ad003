"""What travels as JSON comes back as it was, or is refused with its place."""

import json
from collections import OrderedDict
from enum import Enum, IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from project_fanout.engine.values import to_json

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
KEYS = (
    st.text(max_size=3)
    | st.integers(-3, 3)
    | st.booleans()
    | st.none()
    | st.floats(width=16)
    | st.just((1, 2))
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)


def places_of_other_keys(value: Any, path: str) -> list[str]:
    """Return what a message says of each key that is not text, in the order of the value."""
    if isinstance(value, list):
        return [
            place
            for index, item in enumerate(value)
            for place in places_of_other_keys(item, f"{path}[{index}]")
        ]
    if not isinstance(value, dict):
        return []
    own = [f"{path} has the key {key!r}, " for key in value if not isinstance(key, str)]
    return own or [
        place for key, item in value.items() for place in places_of_other_keys(item, f"{path}[{key!r}]")
    ]


@given(VALUES)
def test_a_value_comes_back_equal_or_is_refused_with_the_place(value: Any) -> None:
    """A key that is not text, wherever it stands, is named; without one every entry arrives as it was."""
    places = places_of_other_keys(value, "payload")
    if not places:
        assert json.loads(to_json(value, "payload")) == value
        return
    with pytest.raises(TypeError) as error:
        to_json(value, "payload")
    assert str(error.value).startswith(places[0])
    assert "not JSON: use text" in str(error.value)


class Format(str, Enum):
    """A kind of text."""

    WEBP = "webp"


class Size(IntEnum):
    """A kind of number."""

    SMALL = 1


class Odd(str):
    """Text that is equal to nothing else, and so may stand twice in a dict."""

    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({1, 2}, "payload is a set"),
        ({"sizes": [1, 2, 3, {4}]}, "payload['sizes'][3] is a set"),
        ({"a": {"b": (1, b"x")}}, "payload['a']['b'][1] is a bytes"),
        ([float("nan")], "payload[0] is nan"),
        ({"x": float("-inf")}, "payload['x'] is -inf"),
        ({(1, 2): 3}, "payload has the key (1, 2), a tuple"),
        (object, "payload is a type"),
        ({1: "a", "1": "b"}, "payload has the key 1, an int"),
        ({"years": [{}, {2024: 1.5}]}, "payload['years'][1] has the key 2024, an int"),
        ({"a": ({"ok": 1}, {True: 1, "true": 2})}, "payload['a'][1] has the key True, a bool"),
        ({None: 0, "null": 1}, "payload has the key None, a NoneType"),
        ({1.0: "a", "1.0": "b"}, "payload has the key 1.0, a float"),
        (
            {Size.SMALL: 1},
            "payload has the key <Size.SMALL: 1>, a project_fanout_tests.engine.values.test_json_text.Size",
        ),
        ([{Odd("a"): 1, "a": 2}], "payload[0] has two keys that are the same text"),
        ([OrderedDict({3: 4})], "payload[0] has the key 3, an int"),
    ],
)
def test_what_is_not_json_is_named_with_its_place(value: object, said: str) -> None:
    """The message tells where in the value the offender sits, and what to use."""
    with pytest.raises(TypeError) as error:
        to_json(value, "payload")
    assert str(error.value).startswith(said)
    assert "not JSON" in str(error.value)


def test_keys_that_are_a_kind_of_text_are_text() -> None:
    """Members of a text Enum are keys as before."""
    assert to_json({Format.WEBP: 1, "b": [{Format.WEBP: 2}]}, "result") == '{"webp":1,"b":[{"webp":2}]}'


def test_a_value_that_contains_itself_is_refused() -> None:
    """Without an endless loop."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TypeError, match="contains itself"):
        to_json(loop, "result")


def test_a_key_below_500_levels_is_refused() -> None:
    """However deep it lies."""
    value: Any = {1: "a", "1": "b"}
    for _ in range(500):
        value = [value]
    with pytest.raises(TypeError, match="has the key 1, an int"):
        to_json(value, "result")
