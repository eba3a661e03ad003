"""Arrays, columns, frames and tables: values of numpy, pandas and pyarrow, which this module imports.

Fixed-width numbers and times travel as their bytes, texts as texts; a column keeps its dtype. Only pyarrow's own
tables and the columns that pandas keeps in pyarrow need that library.
"""

import io
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from project_fanout.engine.values.kinds import KINDS as ALL_KINDS
from project_fanout.engine.values.kinds import Kind, Tag, zone_of, zone_parts
from project_fanout.engine.values.packing import Packer, Unpacker

# Before, a table's metadata could bring a pickle that pyarrow loaded: CVE-2023-47248.
_FIRST_SAFE_PYARROW = (14, 0, 1)

_NAT = type(pd.NaT)
_NA = type(pd.NA)
_MASKED: dict[str, Callable[..., Any]] = {
    "b": pd.arrays.BooleanArray,
    "i": pd.arrays.IntegerArray,
    "u": pd.arrays.IntegerArray,
    "f": pd.arrays.FloatingArray,
}


def kind_of(value: object, library: str) -> Kind | None:
    """Return the kind of a value of *library*, None for one that does not travel."""
    if library == "pyarrow":
        return ALL_KINDS[Tag.ARROW_TABLE] if type(value).__name__ in ("Table", "RecordBatch") else None
    for kind, tag in _BY_TYPE:
        if type(value) is kind or (tag in _WITH_SUBCLASSES and isinstance(value, kind)):
            return ALL_KINDS[tag]
    return None


def _scalar(packer: Packer, value: np.generic) -> Any:
    return packer.ext(Tag.NUMPY_SCALAR, [_described(packer, value.dtype), value.tobytes()])


def _scalar_of(_: Unpacker, parts: Any) -> Any:
    return np.frombuffer(parts[1], _dtype(parts[0]), count=1)[0] if parts[1] else _dtype(parts[0]).type()


def _array(packer: Packer, value: np.ndarray[Any, Any]) -> Any:
    if value.dtype == object:
        return packer.ext(Tag.OBJECT_ARRAY, [list(value.shape), packer.items(value.ravel().tolist())])
    if value.dtype.hasobject:
        raise packer.refusal(
            f"is an array of {value.dtype}, with Python objects in it", "give an array for each field"
        )
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    flat = np.ascontiguousarray(value.T if order == "F" else value).reshape(-1)
    number = packer.buffer(memoryview(flat.view(np.uint8).data if flat.size else b""))
    return packer.ext(Tag.ARRAY, [_described(packer, value.dtype), list(value.shape), order, number])


def _array_of(unpacker: Unpacker, parts: Any) -> Any:
    described, shape, order, number = parts
    flat = np.frombuffer(unpacker.buffer(number), _dtype(described))
    # A copy, because what is in a file or in a message may not be written to, and a stage may.
    return (flat if unpacker.read_only else flat.copy()).reshape(shape, order=order)


def _object_array_of(_: Unpacker, parts: Any) -> Any:
    shape, items = parts
    return np.fromiter(items, dtype=object, count=len(items)).reshape(shape)


def _described(packer: Packer, dtype: "np.dtype[Any]") -> Any:
    return packer.portable(np.lib.format.dtype_to_descr(dtype))


def _dtype(described: Any) -> "np.dtype[Any]":
    return np.lib.format.descr_to_dtype(described)


def _timestamp(packer: Packer, value: pd.Timestamp) -> Any:
    zone = _zone(packer, value.tzinfo)
    return packer.ext(Tag.TIMESTAMP, [int(value.asm8.view("i8")), value.unit, zone, value.fold])


def _timestamp_of(_: Unpacker, parts: Any) -> pd.Timestamp:
    count, unit, zone, _fold = parts
    value = pd.Timestamp(np.datetime64(count, unit))
    return value if not zone else value.tz_localize("UTC").tz_convert(zone_of(zone))


def _zone(packer: Packer, zone: Any) -> Any:
    if (parts := zone_parts(zone)) is None:
        raise packer.refusal(f"has the time zone {zone!r}", "use zoneinfo.ZoneInfo or a fixed offset")
    return parts


def _pandas_timedelta(packer: Packer, value: pd.Timedelta) -> Any:
    return packer.ext(Tag.PANDAS_TIMEDELTA, [int(value.asm8.view("i8")), value.unit])


def _pandas_timedelta_of(_: Unpacker, parts: Any) -> pd.Timedelta:
    return pd.Timedelta(np.timedelta64(*parts))


def _column(packer: Packer, value: Any) -> Any:
    """Return the values of a Series or an Index: an array of numpy's, or what its extension array is made of."""
    if type(value) is pd.arrays.NumpyExtensionArray or isinstance(value.dtype, np.dtype):
        array = np.asarray(value)
        return _objects(packer, array.tolist()) if array.dtype == object else packer.portable(array)
    dtype = value.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        categories = _index(packer, dtype.categories)
        return packer.ext(
            Tag.COLUMN, ["category", categories, packer.portable(np.asarray(value.codes)), dtype.ordered]
        )
    if isinstance(dtype, pd.DatetimeTZDtype):
        counts = packer.portable(np.asarray(value.asi8))
        return packer.ext(Tag.COLUMN, ["datetime", counts, dtype.unit, _zone(packer, dtype.tz)])
    if isinstance(dtype, pd.PeriodDtype):
        return packer.ext(Tag.COLUMN, ["period", packer.portable(np.asarray(value.asi8)), str(dtype)])
    if isinstance(dtype, pd.IntervalDtype):
        sides = [_index(packer, pd.Index(value.left)), _index(packer, pd.Index(value.right))]
        return packer.ext(Tag.COLUMN, ["interval", *sides, value.closed])
    if isinstance(dtype, pd.StringDtype):
        texts = [text if isinstance(text, str) else None for text in value.tolist()]
        na_value = "nan" if dtype.na_value is not pd.NA else "NA"
        return packer.ext(Tag.COLUMN, ["string", packer.items(texts), dtype.storage, na_value])
    if isinstance(dtype, pd.ArrowDtype):
        return packer.ext(Tag.COLUMN, ["arrow", _ipc(packer, _one_column(value))])
    plain = getattr(dtype, "numpy_dtype", None)
    if plain is None or plain.kind not in _MASKED:
        raise packer.refusal(
            f"is a column of {dtype}, which cannot travel", "use another of pandas' own dtypes"
        )
    mask = np.asarray(value.isna())
    data = value.to_numpy(dtype=plain, na_value=plain.type(0))
    return packer.ext(Tag.COLUMN, ["masked", packer.portable(data), packer.portable(mask)])


def _objects(packer: Packer, values: list[Any]) -> Any:
    kinds = set(map(type, values))
    if kinds == {Decimal}:
        # As their texts, which takes a tenth of the time of an extension for each.
        return packer.ext(Tag.COLUMN, ["decimals", list(map(str, values))])
    return packer.ext(Tag.COLUMN, ["objects", packer.items(values, kinds)])


def _column_of(unpacker: Unpacker, parts: Any) -> Any:
    name, first, *rest = parts
    make = _COLUMNS[name]
    return make(unpacker, first, *rest)


def _object_column(_: Unpacker, values: list[Any]) -> Any:
    return np.fromiter(values, dtype=object, count=len(values))


def _string_column(_: Unpacker, texts: list[Any], storage: str, na_value: str) -> Any:
    make: Any = pd.StringDtype  # its stubs want literals
    return pd.array(texts, dtype=make(storage) if na_value == "NA" else make(storage, na_value=np.nan))


def _arrow_column(unpacker: Unpacker, number: int) -> Any:
    column = _ipc_table(unpacker, number).column(0)
    return pd.Series(column, dtype=pd.ArrowDtype(column.type)).array


def _period_column(counts: Any, dtype: Any) -> Any:
    return pd.arrays.PeriodArray(counts, dtype=dtype)


_COLUMNS: dict[str, Callable[..., Any]] = {
    "objects": _object_column,
    "decimals": lambda unpacker, texts: _object_column(unpacker, list(map(Decimal, texts))),
    "category": lambda _, categories, codes, ordered: pd.Categorical.from_codes(
        codes, dtype=pd.CategoricalDtype(categories, ordered)
    ),
    "datetime": lambda _, counts, unit, zone: (
        pd.DatetimeIndex(counts.view(f"M8[{unit}]")).tz_localize("UTC").tz_convert(zone_of(zone)).array
    ),
    "period": lambda _, counts, name: _period_column(counts, pd.PeriodDtype.construct_from_string(name)),
    "interval": lambda _, left, right, closed: pd.arrays.IntervalArray.from_arrays(left, right, closed),
    "string": _string_column,
    "arrow": _arrow_column,
    "masked": lambda _, data, mask: _MASKED[data.dtype.kind](data, mask),
}


def _index(packer: Packer, value: "pd.Index[Any]") -> Any:
    names = packer.portable(list(value.names))
    if isinstance(value, pd.RangeIndex):
        return packer.ext(Tag.INDEX, ["range", [value.start, value.stop, value.step], names])
    if isinstance(value, pd.MultiIndex):
        levels = [_index(packer, level) for level in value.levels]
        codes = [packer.portable(np.asarray(codes)) for codes in value.codes]
        return packer.ext(Tag.INDEX, ["multi", [levels, codes], names])
    freq = getattr(value, "freq", None)
    text = None if freq is None or isinstance(value, pd.PeriodIndex) else freq.freqstr
    return packer.ext(Tag.INDEX, ["plain", [_column(packer, value.array), text], names])


def _index_of(_: Unpacker, parts: Any) -> "pd.Index[Any]":
    kind, content, names = parts
    index: pd.Index[Any]
    if kind == "range":
        index = pd.RangeIndex(*content)
    elif kind == "multi":
        index = pd.MultiIndex(*content)
    else:
        values, freq = content
        index = pd.Index(values, dtype=values.dtype)
        if freq is not None:
            index.freq = freq  # type: ignore[attr-defined]  # what has had one has the attribute
    index.names = names
    return index


def _series(packer: Packer, value: "pd.Series[Any]") -> Any:
    parts = [_column(packer, value.array), _index(packer, value.index), packer.portable(value.name)]
    return packer.ext(Tag.SERIES, [*parts, packer.portable(value.attrs)])


def _series_of(_: Unpacker, parts: Any) -> "pd.Series[Any]":
    values, index, name, attrs = parts
    series: pd.Series[Any] = pd.Series(values, index=index, name=name, dtype=values.dtype)
    series.attrs = attrs
    return series


def _frame(packer: Packer, value: pd.DataFrame) -> Any:
    columns = []
    for number, name in enumerate(value.columns):
        with packer.at(f"[{name!r}]"):
            columns.append(_column(packer, value.iloc[:, number].array))
    indexes = [_index(packer, value.columns), _index(packer, value.index)]
    return packer.ext(Tag.FRAME, [columns, *indexes, packer.portable(value.attrs)])


def _frame_of(_: Unpacker, parts: Any) -> pd.DataFrame:
    columns, names, index, attrs = parts
    # Each column stays a block of its own: a table that is put together of many frames is made column by column.
    frame = pd.DataFrame(dict(enumerate(columns)), index=index, copy=False)
    frame.columns = names
    frame.attrs = attrs
    return frame


class Columns(NamedTuple):
    """A frame before it is put together: its columns as arrays that may be read-only, their names, and its index."""

    columns: list[Any]
    names: "pd.Index[Any]"
    rows: "pd.Index[Any]"
    attrs: dict[Any, Any]


def _one_column(value: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415  # only what pandas keeps in it needs it

    return pa.table({"": pa.array(value)})


def _arrow_table(packer: Packer, value: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415  # it is there: the value is made with it

    is_batch = isinstance(value, pa.RecordBatch)
    table = pa.Table.from_batches([value]) if is_batch else value
    return packer.ext(Tag.ARROW_TABLE, [_ipc(packer, table), is_batch])


def _arrow_table_of(unpacker: Unpacker, parts: Any) -> Any:
    number, is_batch = parts
    table = _ipc_table(unpacker, number)
    return table.combine_chunks().to_batches()[0] if is_batch else table


def _ipc(packer: Packer, table: Any) -> int:
    import pyarrow as pa  # noqa: PLC0415  # as above

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return packer.buffer(memoryview(sink.getvalue()))


def _ipc_table(unpacker: Unpacker, number: int) -> Any:
    try:
        import pyarrow as pa  # noqa: PLC0415  # as above
    except ImportError:
        raise ImportError("it is a pyarrow Table: pip install 'project_fanout[arrow]'") from None
    if tuple(map(int, pa.__version__.split(".")[:3])) < _FIRST_SAFE_PYARROW:
        raise ImportError(
            f"pyarrow {pa.__version__} may run code that a stored table holds: install 14.0.1 or later"
        )
    with pa.ipc.open_stream(
        pa.BufferReader(pa.py_buffer(io.BytesIO(unpacker.buffer(number)).getvalue()))
    ) as reader:
        return reader.read_all()


_BY_TYPE: list[tuple[type, Tag]] = [
    (np.generic, Tag.NUMPY_SCALAR),
    (np.ndarray, Tag.ARRAY),
    (pd.Timestamp, Tag.TIMESTAMP),
    (pd.Timedelta, Tag.PANDAS_TIMEDELTA),
    (_NAT, Tag.NOT_A_TIME),
    (_NA, Tag.NOT_AVAILABLE),
    (pd.DataFrame, Tag.FRAME),
    (pd.Series, Tag.SERIES),
    (pd.Index, Tag.INDEX),
    (pd.api.extensions.ExtensionArray, Tag.COLUMN),
]
_WITH_SUBCLASSES = (Tag.NUMPY_SCALAR, Tag.INDEX, Tag.COLUMN)

PACK: dict[Tag, Callable[[Packer, Any], Any]] = {
    Tag.NUMPY_SCALAR: _scalar,
    Tag.ARRAY: _array,
    Tag.TIMESTAMP: _timestamp,
    Tag.PANDAS_TIMEDELTA: _pandas_timedelta,
    Tag.NOT_A_TIME: lambda packer, _: packer.ext(Tag.NOT_A_TIME, None),
    Tag.NOT_AVAILABLE: lambda packer, _: packer.ext(Tag.NOT_AVAILABLE, None),
    Tag.FRAME: _frame,
    Tag.SERIES: _series,
    Tag.INDEX: _index,
    Tag.COLUMN: _column,
    Tag.ARROW_TABLE: _arrow_table,
}
UNPACK: dict[Tag, Callable[[Unpacker, Any], Any]] = {
    Tag.NUMPY_SCALAR: _scalar_of,
    Tag.ARRAY: _array_of,
    Tag.OBJECT_ARRAY: _object_array_of,
    Tag.TIMESTAMP: _timestamp_of,
    Tag.PANDAS_TIMEDELTA: _pandas_timedelta_of,
    Tag.NOT_A_TIME: lambda *_: pd.NaT,
    Tag.NOT_AVAILABLE: lambda *_: pd.NA,
    Tag.FRAME: _frame_of,
    Tag.SERIES: _series_of,
    Tag.INDEX: _index_of,
    Tag.COLUMN: _column_of,
    Tag.ARROW_TABLE: _arrow_table_of,
}
