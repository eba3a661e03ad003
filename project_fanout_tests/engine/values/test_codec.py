"""What goes in comes out: every type of docs/values.md, nested in any way, and refused with its place otherwise."""

import pickle
import pickletools
import threading
from contextlib import suppress
from enum import Enum, IntEnum
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from project_fanout.engine.errors import DamagedValueError, UnsupportedValueError
from project_fanout.engine.values import bundle, decode, decode_columns, encode, identity, unbundle
from project_fanout_tests.engine.values.samples import VALUES, Item, Order, Point, same
from project_fanout_tests.nightly import NIGHTLY


class Level(IntEnum):
    """A kind of number."""

    HIGH = 3


class Format(Enum):
    """A kind of text."""

    WEBP = "webp"


@settings(max_examples=5_000 if NIGHTLY else 300)
@given(VALUES)
def test_a_value_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    """At every place in it; and the same value has the same fingerprint."""
    encoded = encode(value, "payload")
    back = decode(encoded)
    assert same(value, back), (value, back)
    assert identity(encode(back, "payload")) == identity(encoded)
    assert unbundle(bundle([encoded, "1", encoded])) == (encoded, "1", encoded)


@pytest.mark.parametrize(
    "value",
    [
        {1: "a", "1": "b", None: 0, (1, 2): 3},
        [float("nan"), float("-inf"), -0.0, 2**70, -(2**5000), "", {"\ud800": "\udfff"}],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([1, "x", None, (2,)], dtype=object),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])),
        pd.DataFrame(index=["x"]),
    ],
    ids=["keys", "edges", "fortran", "objects", "twice", "levels", "no columns"],
)
def test_edges_of_the_types(value: Any) -> None:
    """Keys that JSON would merge, numbers that it has not, halves of surrogate pairs, and odd frames."""
    assert same(value, decode(encode(value, "result")))


@pytest.mark.parametrize("make", [list, tuple, lambda items: {"in": items[0]}], ids=["list", "tuple", "dict"])
def test_a_hundred_levels_come_back(make: Any) -> None:
    """Also where a tuple is at the bottom, so that it is more than JSON."""
    value: Any = (1, 2)
    for _ in range(100):
        value = make([value])
    assert same(value, decode(encode(value, "result")))


def test_plain_json_stays_json_text() -> None:
    """As in ledgers that were written before, with the same fingerprints."""
    value = {"words": 3, "of": ["a", None, 1.5, True, {"deep": [2**70, "\ud800"]}]}
    assert (
        encode(value, "result")
        == '{"words":3,"of":["a",null,1.5,true,{"deep":[1180591620717411303424,"\\ud800"]}]}'
    )
    assert identity(encode("x", "payload")) == '"x"'


def test_of_objects_the_data_travels() -> None:
    """Of dataclasses, models, NamedTuples and Enums, and of subclasses of plain types."""
    import datetime as dt
    from collections import Counter, OrderedDict, defaultdict
    from decimal import Decimal

    class Text(str):
        __slots__ = ()

    sent = {
        "order": Order(7, dt.date(2024, 1, 1)),
        "item": Item(name="ü", price=Decimal("1.10"), tags={"a"}),
        "point": Point(1.0, 2.0),
        "format": Format.WEBP,
        Format.WEBP: [Level.HIGH, Text("x"), defaultdict(int, a=1), OrderedDict(b=2), Counter("aa")],
    }
    assert same(
        decode(encode(sent, "payload")),
        {
            "order": {"number": 7, "placed": dt.date(2024, 1, 1)},
            "item": {"name": "ü", "price": Decimal("1.10"), "tags": {"a"}},
            "point": (1.0, 2.0),
            "format": "webp",
            "webp": [3, "x", {"a": 1}, {"b": 2}, {"a": 2}],
        },
    )
    assert encode([Level.HIGH, {"of": Format.WEBP}], "payload") == '[3,{"of":"webp"}]'


LOOP: list[Any] = []
LOOP.append((LOOP,))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            {"stats": [0, 1, 2, Order(threading.Lock(), None)]},  # type: ignore[arg-type]  # on purpose
            "result['stats'][3].number is a _thread.lock, which cannot travel between processes: give its data",
        ),
        (
            (x for x in ()),
            "result is a generator, which cannot travel between processes: make a list of it, list(...)",
        ),
        ([{1: map(str, [])}], "result[0][1] is a map, which cannot travel between processes: make a list"),
        (pd.DataFrame({"a": [object()]}), "result['a'][0] is an object, which cannot travel"),
        (LOOP, "result is nested deeper than 200 levels or contains itself"),
        ({Format.WEBP: "a", "webp": "b"}, "result has two keys of which the same travels, 'webp'"),
        (
            {Order(1, None): 1},
            "result has the key or item Order(number=1, placed=None), a project_fanout_tests.",
        ),  # type: ignore[arg-type]  # on purpose
        (
            pd.arrays.SparseArray([0, 0, 1]),
            "result is a column of Sparse[int64, 0], which cannot travel: use another of pandas",
        ),
        (np.ma.masked_array([1, 2], [True, False]), "result is a numpy.ma.MaskedArray, which cannot travel"),
        (open, "result is a builtin_function_or_method, which cannot travel"),
        (pd, "result is a module, which cannot travel between processes: give its name"),
    ],
)
def test_what_cannot_travel_is_refused_with_its_place(value: Any, said: str) -> None:
    """The message says where it is, of what type with its module, and what to write instead."""
    with pytest.raises(UnsupportedValueError) as error:
        encode(value, "result")
    assert str(error.value).startswith(said)


class Trap:
    """Leaves a mark where it is unpickled."""

    def __reduce__(self) -> Any:
        return (exec, ("import builtins; builtins.trapped = True",))


def crafted() -> list[bytes]:
    """Return bytes that run code where somebody unpickles them, in every place where a value has bytes."""
    import ormsgpack

    from project_fanout.engine.values.codec import _joined
    from project_fanout.engine.values.kinds import Tag

    pa = pytest.importorskip("pyarrow")
    evil = pickle.dumps(Trap())
    assert any(opcode.name == "REDUCE" for opcode, _, _ in pickletools.genops(evil))
    sink = pa.BufferOutputStream()
    field = pa.field("x", pa.binary(), metadata={b"ARROW:extension:name": b"arrow.py_extension_type"})
    field = field.with_metadata({**field.metadata, b"ARROW:extension:metadata": evil})
    with pa.ipc.new_stream(sink, pa.schema([field])) as writer:
        writer.write_table(pa.table({"x": pa.array([evil])}).cast(pa.schema([pa.field("x", pa.binary())])))
    arrow = sink.getvalue().to_pybytes()

    def whole(tree: Any, *buffers: bytes) -> bytes:
        return b"".join(_joined(ormsgpack.packb(tree), [memoryview(buffer) for buffer in buffers]))

    values = [evil, whole(evil), *(whole(ormsgpack.Ext(tag, evil)) for tag in Tag)]
    values.append(whole(ormsgpack.Ext(Tag.ARRAY, ormsgpack.packb(["|O", [1], "C", 0])), evil))
    values.append(whole(ormsgpack.Ext(Tag.ARROW_TABLE, ormsgpack.packb([0, False])), arrow))
    values.append(whole(ormsgpack.Ext(Tag.ARROW_TABLE, ormsgpack.packb([0, False])), evil))
    return values


def test_reading_what_somebody_has_changed_runs_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crafted pickle or Arrow file in the place of a value is refused, or read as the bytes that it is."""
    import builtins

    def refuse(*_: object) -> None:
        raise AssertionError("something was unpickled")

    for name in ("loads", "load", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    for content in crafted():
        for read in (decode, decode_columns):
            with suppress(DamagedValueError):
                read(content)
    assert not hasattr(builtins, "trapped")


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9, 0.999])
def test_a_value_that_is_cut_off_is_damaged(cut: float) -> None:
    """It is said, whatever is missing."""
    encoded = encode({"a": np.arange(100), "b": (1, 2)}, "result")
    assert isinstance(encoded, bytes)
    with pytest.raises(DamagedValueError):
        decode(encoded[: int(len(encoded) * cut)])
