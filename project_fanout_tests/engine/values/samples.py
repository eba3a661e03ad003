"""Values of every type that travels: strategies to draw them, and a comparison that looks at types as well."""

import datetime as dt
import math
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from hypothesis.extra import pandas as pdst
from pydantic import BaseModel

try:
    import pyarrow as pa
except ImportError:  # an extra
    pa = None

ZONES = [dt.timezone.utc, dt.timezone(dt.timedelta(hours=5, minutes=30)), ZoneInfo("Europe/Berlin")]
#: A time that is there twice, and one that is not there at all.
ODD_TIMES = [
    dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    dt.datetime(2024, 3, 31, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")),
]
TEXTS = st.text(max_size=5) | st.sampled_from(["", "\x00", "\ud800", "\udfff x", "ещё", "😀"])
NUMBERS = (
    st.integers()
    | st.sampled_from([2**63, 2**64, 2**70, -(2**63), -(2**63) - 1])
    | st.floats()
    | st.booleans()
)
TIMES = (
    st.datetimes(timezones=st.none() | st.sampled_from(ZONES))
    | st.sampled_from(ODD_TIMES)
    | st.dates()
    | st.times()
    | st.times(timezones=st.sampled_from(ZONES[:2]))
    | st.timedeltas()
)
OTHERS = st.decimals() | st.uuids() | st.binary(max_size=5) | st.complex_numbers()
PATHS = st.sampled_from([Path("a/b"), Path("/"), PurePosixPath("x")])
NUMPY_SCALARS = st.sampled_from(
    [
        *(
            np.int64(-3),
            np.uint8(255),
            np.float32(1.5),
            np.float64("nan"),
            np.bool_(True),
            np.complex64(1 + 2j),
        ),
        *(np.datetime64("2024-01-01", "D"), np.datetime64("NaT"), np.timedelta64(3, "ns")),
        *(np.str_("ü"), np.bytes_(b"x")),
    ]
)
PANDAS_SCALARS = st.sampled_from(
    [
        *(pd.NaT, pd.NA, pd.Timestamp("2024-02-29 12:00:00.123456789"), pd.Timedelta("-1 days 3 ns")),
        pd.Timestamp("2024-10-27 01:30", tz="UTC").tz_convert("Europe/Berlin"),
        pd.Timestamp(0, tz="UTC").as_unit("ms"),
    ]
)
KEYS = st.none() | TEXTS | NUMBERS | TIMES | st.uuids() | st.binary(max_size=3) | PATHS
KEYS = KEYS | st.tuples(KEYS, KEYS) | st.frozensets(TEXTS, max_size=2)
ARRAYS = npst.arrays(
    npst.scalar_dtypes() | st.just(np.dtype([("a", "i4"), ("b", "U3")])),
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Draw a frame of columns of many dtypes, with an index of some kind."""
    rows = draw(st.integers(0, 4))
    columns: dict[Any, Any] = {}
    for name in draw(st.lists(st.text(max_size=3) | st.integers(0, 3), max_size=4, unique=True)):
        make = draw(st.sampled_from(COLUMNS))
        columns[name] = pd.Series(make(rows), index=range(rows))
    frame = pd.DataFrame(columns, index=range(rows))
    frame.index = draw(st.sampled_from(INDEXES))(rows)
    return frame


def _with_gap(values: list[Any]) -> list[Any]:
    return [None if number == 1 else value for number, value in enumerate(values)]


COLUMNS: list[Any] = [
    lambda rows: np.arange(rows, dtype="int8"),
    lambda rows: np.linspace(0, 1, rows),
    lambda rows: np.arange(rows) % 2 == 0,
    lambda rows: pd.array(_with_gap(list(range(rows))), dtype="Int64"),
    lambda rows: pd.array(_with_gap([1.5] * rows), dtype="Float32"),
    lambda rows: pd.array(_with_gap([True] * rows), dtype="boolean"),
    lambda rows: pd.array(_with_gap(["ü"] * rows), dtype="string"),
    lambda rows: pd.Categorical(["b", "a", "b", "c"][:rows], categories=["c", "b", "a"], ordered=True),
    lambda rows: pd.date_range("2024-10-26", periods=rows, tz="Europe/Berlin"),
    lambda rows: pd.date_range("2024-10-26", periods=rows, unit="s"),
    lambda rows: pd.timedelta_range("1 ns", periods=rows, freq="ns"),
    lambda rows: pd.period_range("2024-01", periods=rows, freq="M"),
    lambda rows: pd.interval_range(0, rows, closed="left"),
    lambda rows: np.array(_with_gap([Decimal("1.10")] * rows), dtype=object),
    lambda rows: np.array([Decimal("1.10")] * rows, dtype=object),
    lambda rows: np.array(_with_gap(["text", 1, float("nan"), pd.NA][:rows]), dtype=object),
    lambda rows: pd.Series([[1, 2], {"a": dt.date(2024, 1, 1)}, (3,), None][:rows], dtype=object).to_numpy(),
]
INDEXES: list[Any] = [
    pd.RangeIndex,
    lambda rows: pd.RangeIndex(5, 5 + 2 * rows, 2, name="step"),
    lambda rows: pd.Index(["x", "y", "z", "x"][:rows], name="key"),
    lambda rows: pd.date_range("2024", periods=rows, freq="h", name="at"),
    lambda rows: pd.CategoricalIndex(["x", "y", "x", "y"][:rows]),
    lambda rows: pd.MultiIndex.from_arrays([range(rows), ["a"] * rows], names=["n", None]),
]
SERIES = pdst.series(elements=st.floats(), index=pdst.range_indexes(max_size=3)) | st.just(
    pd.Series(["x", None], name="texts")
)
INDEX_VALUES = st.builds(lambda make, rows: make(rows), st.sampled_from(INDEXES), st.integers(0, 4))
TABLES: Any = st.nothing()
if pa is not None:
    COLUMNS += [
        lambda rows: pd.array(_with_gap(["ü"] * rows), dtype="string[pyarrow]"),
        lambda rows: pd.array(_with_gap(list(range(rows))), dtype=pd.ArrowDtype(pa.int16())),
    ]
    TABLES = st.sampled_from(
        [
            *(
                pa.table({"n": [1, 2], "t": ["x", None]}),
                pa.table({}),
                pa.table({"d": pa.array([], pa.date32())}),
            ),
            pa.record_batch({"n": [1, 2], "when": [dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc), None]}),
        ]
    )
LEAVES = st.none() | TEXTS | NUMBERS | TIMES | OTHERS | PATHS | NUMPY_SCALARS | PANDAS_SCALARS
LARGE = ARRAYS | frames() | SERIES | INDEX_VALUES | TABLES
VALUES = st.recursive(
    LEAVES | LARGE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.sets(KEYS, max_size=3)
        | st.frozensets(KEYS, max_size=3)
    ),
    max_leaves=8,
)


@dataclass(frozen=True)
class Order:
    """An order, as a dataclass."""

    number: int
    placed: dt.date


class Point(NamedTuple):
    """A place, as a NamedTuple."""

    x: float
    y: float


class Item(BaseModel):
    """A thing, as a pydantic model."""

    name: str
    price: Decimal
    tags: set[str] = set()


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal, with equal types at every place; NaN is equal to NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    if isinstance(one, (set, frozenset)):
        return len(one) == len(other) and sorted(map(_exact, one)) == sorted(map(_exact, other))
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(
            one, other, check_exact=True, check_freq=True, check_column_type="exact"
        )
        return True
    if isinstance(one, pd.Series):
        pd.testing.assert_series_equal(one, other, check_exact=True)
        return True
    if isinstance(one, pd.Index):
        pd.testing.assert_index_equal(one, other, exact=True)
        return getattr(one, "freq", None) == getattr(other, "freq", None)
    if isinstance(one, np.ndarray):
        if (one.dtype, one.shape) != (other.dtype, other.shape):
            return False
        if one.dtype == object:
            return same(one.tolist(), other.tolist())
        return one.tobytes() == other.tobytes()
    if type(one).__module__ == "pyarrow.lib":
        return bool(one.equals(other, check_metadata=True))
    return _exact(one) == _exact(other)


def _exact(value: Any) -> str:
    """Return a text that differs where values differ, also in what `==` does not look at."""
    if isinstance(value, float) and math.isnan(value):
        return f"{type(value)} nan"
    if isinstance(value, (tuple, frozenset)):
        return f"{type(value)} {sorted(map(_exact, value)) if isinstance(value, frozenset) else [*map(_exact, value)]}"
    if isinstance(value, dt.datetime) and not isinstance(value, pd.Timestamp) and value is not pd.NaT:
        return f"{type(value)} {value!r} {value.fold}"
    if isinstance(value, pd.Timestamp):
        return f"{type(value)} {value!r} {value.unit} {value.value}"
    if isinstance(value, np.generic):
        return f"{type(value)} {value.dtype} {value.tobytes()!r}"
    return f"{type(value)} {value!r}"
