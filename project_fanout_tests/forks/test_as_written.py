"""The text of a job request: what is read is what is written, or nothing."""

import datetime as dt
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from project_fanout.engine.policy import FanoutPolicy
from project_fanout.forks.actions import Actions
from project_fanout.forks.as_written import NotAsWrittenError, read_value
from project_fanout.forks.job_request import InvalidRequestError, read_request, read_text
from project_fanout_tests.forks.fork_stages import shout

ACTIONS = Actions([shout])
WORDS = st.text(
    string.ascii_letters + string.digits + "_:.+-~=<>^/ *&!#%@|?ß№", min_size=1, max_size=6
).filter(str.strip)


def tasks_of(fanout: str) -> list[tuple[str, object]]:
    """The key and the payload of each task of the request."""
    text = f"action: shout\npayload: text: a\nfanout: {fanout}"
    records = list(read_request(read_text(text), ACTIONS, FanoutPolicy()))
    assert [record.key for record in records] == [f"task_{record.units[0].key}" for record in records]
    return [(record.units[0].key, record.units[0].payload) for record in records]


def test_codes_and_times_stay_as_they_are_written() -> None:
    """Countries, postal codes, times and versions are none of YAML's booleans, octals, minutes and numbers."""
    codes = [
        "SE",
        "NO",
        "0123",
        "12:30",
        "1_000",
        "yes",
        "Off",
        "~",
        "1.10",
        "+5",
        "0x1F",
        "1e3",
        ".5",
        "Null",
    ]
    assert tasks_of(f"foreach({', '.join(codes)})") == [(code, code) for code in codes]
    assert tasks_of(f"[{', '.join(codes)}]") == [(code, code) for code in codes]


def test_numbers_and_json_words_are_values() -> None:
    """A number that is written as it would be shown is one; true, false and null are what they are in JSON."""
    assert tasks_of("foreach(7, -7, 0, 1.5, true, false, null, '007')") == [
        ("7", 7),
        ("-7", -7),
        ("0", 0),
        ("1.5", 1.5),
        ("true", True),
        ("false", False),
        ("null", None),
        ("007", "007"),
    ]


@given(words=st.lists(WORDS, min_size=1, max_size=3))
def test_any_item_is_as_written_or_refused(words: list[str]) -> None:
    """Whatever the items, none becomes something else than it says."""
    try:
        found = tasks_of(f"foreach({', '.join(words)})")
    except InvalidRequestError:
        return
    for (_, item), word in zip(found, map(str.strip, words), strict=True):
        assert (json.dumps(item) if item is None or isinstance(item, bool) else str(item)) == word


@pytest.mark.parametrize(
    "text",
    [
        *("[a:, b]", "[*a]", "[&a b]", "[!x b]", "[!!str 5]", "{a: 1, a: 2}", "{a}", "[a #b, c]", "[a,,b]"),
        *("[@x]", "[2026-13-45]", "[" * 3_000, "{[1]: 2}", "\x07", "? a"),
    ],
)
def test_what_has_a_meaning_in_yaml_alone_is_refused(text: str) -> None:
    """References, tags, comments within a value, missing values and keys given twice: with what to do."""
    with pytest.raises(NotAsWrittenError, match=r"cannot be read: .*; write text .* in quotes") as said:
        read_value(text)
    assert len(str(said.value)) < 500


def test_the_values_of_a_payload_and_the_names_of_actions() -> None:
    """They are read in the same way, and dates are dates."""
    request = read_text(
        "action: NO\npayload: country: NO, code: 0123, at: 12:30, size: 1_000, day: 2026-01-02\nfanout:"
    )
    assert request == {
        "action": "NO",
        "payload": {
            "country": "NO",
            "code": "0123",
            "at": "12:30",
            "size": "1_000",
            "day": dt.date(2026, 1, 2),
        },
        "fanout": None,
    }
    [record] = read_request({"action": "shout", "payload": "text: 0123, mark: NO"}, ACTIONS, FanoutPolicy())
    assert record.plan is not None
    assert dict(record.plan.stages[0].params) == {"text": "0123", "mark": "NO"}


def test_all_lines_that_are_wrong_are_named() -> None:
    """Whoever writes a request is told of every line at once."""
    with pytest.raises(InvalidRequestError) as refused:
        read_text("action: a\nwhat is this\naction: b\npayload: c: 1, c: 2\nnext_actions: [d")
    said = str(refused.value)
    for each in (
        "'what is this' is not a line",
        "action is given twice",
        "payload: '{c: 1, c: 2}'",
        "next_actions: '[d'",
    ):
        assert each in said


def test_an_input_that_several_actions_take_is_said_once() -> None:
    """So is an action that is named several times."""
    actions = Actions([shout])
    for request, said in (
        ({"action_chain": ["gone", "gone", "gone"]}, "action 'gone' is not registered"),
        (
            {"action_chain": ["shout", "shout"], "payload": {"text": 5}},
            "payload for shout: text is 5, accepted: str",
        ),
    ):
        with pytest.raises(InvalidRequestError) as refused:
            read_request(request, actions, FanoutPolicy())
        assert str(refused.value).count(said) == 1
        assert ";" not in str(refused.value)
