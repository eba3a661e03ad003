"""Records and units say at once what is wrong with them."""

import pickle
from enum import Enum
from typing import Any

import pytest

from project_fanout.engine import Fanout, Record, RecordOutcome, Unit, UnitError, UnitOutcome, errors
from project_fanout.engine.errors import FanoutError, InvalidRecordError, RetryAfter

KEYS = [
    "a",
    "class",
    "a.b-c d",
    "../x",
    "Отчёт № 5",
    "📷",
    " ",
    "\n",
    "k" * 300,
    "Photo.JPG",
]


@pytest.mark.parametrize("key", KEYS)
def test_any_text_is_a_key(key: str) -> None:
    """Dots, dashes, spaces, Cyrillic, 300 characters and Python's own words are all legal keys."""
    record = Record(key, [Unit(key, 1)])
    assert (record.key, record.units) == (key, (Unit(key, 1),))


class Format(str, Enum):
    """A kind of text."""

    WEBP = "webp"


def test_a_key_is_plain_text_whatever_kind_it_was() -> None:
    """So that a worker need not import what defines the kind, and rows are alike however they came."""
    record = Record(Format.WEBP, [Unit(Format.WEBP)])
    assert [type(record.key), type(record.units[0].key)] == [str, str]
    assert (record.key, record.units[0].key) == ("webp", "webp")


@pytest.mark.parametrize("key", ["", None, 5, b"bytes", ["a"], "half \ud800"])
def test_what_is_not_text_is_no_key(key: Any) -> None:
    """An empty key, one that is not text and one that no file can hold are refused with their value."""
    with pytest.raises(InvalidRecordError) as unit_error:
        Unit(key)
    with pytest.raises(InvalidRecordError) as record_error:
        Record(key)
    assert repr(key) in str(unit_error.value)
    assert "is not a unit key" in str(unit_error.value)
    assert repr(key) in str(record_error.value)
    assert "is not a record key" in str(record_error.value)


@pytest.mark.parametrize("make", [lambda units: Record("r", units), Fanout])
def test_unit_keys_are_unique(make: Any) -> None:
    """Two units of one key are refused by name, in a record and in a Fanout."""
    with pytest.raises(InvalidRecordError, match=r"hold the key 'twin' twice"):
        make([Unit("twin"), Unit("other"), Unit("twin")])


@pytest.mark.parametrize("make", [lambda units: Record("r", units), Fanout])
@pytest.mark.parametrize("units", [None, 5, "text", ["text"], [("a", 1)], [Unit("a"), None]])
def test_units_are_units(make: Any, units: Any) -> None:
    """Anything else in their place is refused, and the message says what to give."""
    with pytest.raises(InvalidRecordError, match=r"Unit\(key, payload\)"):
        make(units)


def test_units_may_come_from_a_generator() -> None:
    """They are read once and kept as a tuple, so a record can be read twice."""
    record = Record("r", (Unit(str(number)) for number in range(3)))  # type: ignore[arg-type]  # users give any iterable
    assert [unit.key for unit in record.units] == ["0", "1", "2"]
    assert record.units == record.units


def test_two_keys_that_differ_in_case_are_two_keys() -> None:
    """Keys are compared as they are."""
    assert len(Record("r", [Unit("a"), Unit("A"), Unit("a ")]).units) == 3


def outcome(unit_key: str, status: Any, **others: Any) -> UnitOutcome:
    """Return the outcome of a unit of record r."""
    return UnitOutcome(
        record_key="r", unit_key=unit_key, stage="s", status=status, attempts=1, seconds=0.1, **others
    )


def test_outcomes_tell_success_from_the_rest() -> None:
    """Only `succeeded` is a success; a record lists the others."""
    fine = outcome("a", "succeeded", encoded="1")
    rest = [outcome("b", status) for status in ("failed", "timed_out", "crashed")]
    record = RecordOutcome("r", (fine, *rest))
    assert fine.succeeded
    assert record.failed == tuple(rest)


def test_an_error_reads_as_in_a_traceback() -> None:
    """Type and message, or the type alone where there is no message."""
    assert str(UnitError("ValueError", "bad")) == "ValueError: bad"
    assert str(UnitError("KeyboardInterrupt", "")) == "KeyboardInterrupt"


@pytest.mark.parametrize(
    "value",
    [
        Unit("k", {"a": [1]}),
        Record("r", [Unit("k")]),
        Fanout([Unit("k")]),
        outcome("u", "failed", error=UnitError("E", "m", "t")),
        RecordOutcome("r", ()),
        *(each("why") for each in vars(errors).values() if isinstance(each, type) and each is not RetryAfter),
        RetryAfter(2.5, "why"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_everything_that_travels_survives_pickling(value: object) -> None:
    """Nouns and errors go between processes as they are."""
    loaded = pickle.loads(pickle.dumps(value))  # our own bytes
    if isinstance(value, FanoutError):
        assert (type(loaded), str(loaded)) == (type(value), "why")
    else:
        assert loaded == value
