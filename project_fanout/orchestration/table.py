"""The asset's table: a row per unit, or the rows of the frames that units have returned."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, groupby, repeat
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from project_fanout.engine.model import RecordOutcome, UnitOutcome
from project_fanout.engine.values import StoredValue, decode_columns
from project_fanout.engine.values.tables import Columns

#: The columns that every fan-out asset has; a stage's result adds its own.
COLUMNS = ("record_key", "unit_key", "stage", "status", "attempts", "seconds", "error")

_READERS = 4


def outcome_frame(records: Sequence[RecordOutcome]) -> pd.DataFrame:
    """Return the rows of all outcomes, in record and unit order: `COLUMNS`, then what the results hold.

    A result that is a dict with texts for keys, or was a dataclass or model, is a row with a column per field. A
    DataFrame or pyarrow Table is as many rows as it has, with its columns and dtypes; the named levels of its index
    are columns too. Any other result goes to the column `result`. Frames with differing columns meet as in
    `pandas.concat`.

    A field that is named like one of `COLUMNS` becomes `result_<name>`, with more of them where there is such a
    field already.
    """
    return joined_rows([Rows.of([unit for record in records for unit in record.units])])


class _Part(NamedTuple):
    """Rows that lie next to each other: how many each of their outcomes has, and their columns.

    Args:
        rows: of each outcome.
        columns: arrays of a frame's rows; where each outcome is a row, arrays or lists of the values.
        is_frame: whether it is a frame.
    """

    rows: list[int]
    columns: dict[Any, Any]
    is_frame: bool

    def pop(self, name: Any) -> pd.DataFrame:
        """Take the column *name* out, as a frame that has it or none."""
        index = pd.RangeIndex(sum(self.rows))
        if name not in self.columns:
            return pd.DataFrame(index=index)
        return _series(self.columns.pop(name)).set_axis(index).to_frame(name)


class Rows(NamedTuple):
    """The rows of some outcomes, in a fraction of the memory of these.

    Args:
        about: `COLUMNS`: a value per outcome, or values and how often they come in a row.
        parts: what the results hold.
    """

    about: dict[str, Any]
    parts: list[_Part]

    @classmethod
    def of(cls, outcomes: Sequence[UnitOutcome], shared: Mapping[str, str] | None = None) -> "Rows":
        """Return the rows of *outcomes*; texts that are in *shared* as they are there."""
        parts: list[_Part] = []
        for is_frame, some in groupby(_with_results(outcomes), key=lambda pair: _is_frame(pair[1])):
            pairs = iter(some)
            parts += map(_rows_of, pairs) if is_frame else [_one_row_each(list(pairs))]
        return cls(_about(outcomes, shared or {}), parts)

    @property
    def count_of_rows(self) -> int:
        """How many rows of the table they are."""
        return sum(sum(part.rows) for part in self.parts)


def joined_rows(some: Sequence[Rows]) -> pd.DataFrame:
    """Return the table of all rows, which are moved there; see `outcome_frame`."""
    parts: list[_Part] = []
    for is_frame, group in groupby(
        (part for rows in some for part in rows.parts), key=attrgetter("is_frame")
    ):
        alike = list(group)
        parts += alike if is_frame else [_joined_values(alike)]
    rows = [count for part in parts for count in part.rows]
    fields = list(dict.fromkeys(name for part in parts for name in part.columns))
    columns: dict[Any, Any] = {name: _repeated(_about_column(name, some), rows) for name in COLUMNS}
    for name in fields:
        column = name
        while column in COLUMNS or (column != name and column in fields):
            column = f"result_{column}"
        columns[column] = _joined(parts, name)
    # Not copied into one block per dtype: they may be the largest thing in this process.
    return pd.DataFrame(columns, copy=False)


def _with_results(outcomes: Sequence[UnitOutcome]) -> Iterator[tuple[UnitOutcome, Any]]:
    """Yield each outcome with its result; what is in an object store is read ahead."""
    # Not files on this machine: those take less time than what they hold, for which threads wait for each other.
    if not any(
        isinstance(outcome.encoded, StoredValue) and "://" in outcome.encoded.url for outcome in outcomes
    ):
        yield from map(_with_result, outcomes)
        return
    with ThreadPoolExecutor(_READERS, thread_name_prefix="fanout-values") as readers:
        yield from readers.map(_with_result, outcomes)


def _with_result(outcome: UnitOutcome) -> tuple[UnitOutcome, Any]:
    return outcome, outcome.decoded(decode_columns) if outcome.succeeded else None


def _is_frame(result: Any) -> bool:
    return isinstance(result, Columns) or _is_arrow(result)


def _is_arrow(result: Any) -> bool:
    kind = type(result)
    return kind.__module__.partition(".")[0] == "pyarrow" and kind.__name__ in ("Table", "RecordBatch")


def _rows_of(pair: tuple[UnitOutcome, Any]) -> _Part:
    """Return the rows that a frame gives to the table."""
    _, result = pair
    if _is_arrow(result):
        frame: pd.DataFrame = result.to_pandas()
        result = Columns([frame[name] for name in frame], frame.columns, frame.index, {})
    columns, names, index, _ = result
    levels = [level for level, name in enumerate(index.names) if name is not None]
    parts = [(index.names[level], index.get_level_values(level)) for level in levels]
    parts += zip(names.to_list(), columns, strict=True)
    named = zip(_distinct(name for name, _ in parts), (column for _, column in parts), strict=True)
    return _Part([len(index)], dict(named), is_frame=True)


def _distinct(names: Iterable[Any]) -> list[Any]:
    """Return *names* with numbers behind those that have been there before."""
    seen: dict[Any, int] = {}
    distinct = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        distinct.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return distinct


def _joined(parts: Sequence[_Part], name: Any) -> "pd.Series[Any]":
    """Take the column *name* out of *parts*, and return it as `pandas.concat` joins it.

    Column by column, so that no more than one is there twice at any time.
    """
    dtypes = {part.columns[name].dtype if name in part.columns else None for part in parts}
    if len(dtypes) > 1:
        joined: pd.Series[Any] = pd.concat([part.pop(name) for part in parts], ignore_index=True)[name]
        return joined
    # The same as that, in a fifth of the time.
    arrays = [part.columns.pop(name) for part in parts]
    if all(isinstance(array, np.ndarray) for array in arrays):
        return _series(np.concatenate(arrays))
    # Copied in any case: a frame's columns lie in what was stored, which may not be written to.
    return (
        _series(arrays[0].copy()) if len(arrays) == 1 else pd.concat(map(_series, arrays), ignore_index=True)
    )


def _series(array: Any) -> "pd.Series[Any]":
    """Return *array* as a column: pandas 3 would make a type of its own of texts."""
    column: pd.Series[Any] = pd.Series(array, dtype=array.dtype, copy=False)
    return column


def _about(outcomes: Sequence[UnitOutcome], shared: Mapping[str, str]) -> dict[str, Any]:
    return {
        "record_key": _runs(each.record_key for each in outcomes),
        "unit_key": [shared.get(each.unit_key, each.unit_key) for each in outcomes],
        "stage": _runs(each.stage for each in outcomes),
        "status": _runs(each.status for each in outcomes),
        "attempts": _runs(each.attempts for each in outcomes),
        "seconds": np.array([each.seconds for each in outcomes], dtype="float64"),
        "error": _runs(None if each.error is None else str(each.error) for each in outcomes),
    }


def _runs(values: Iterable[Any]) -> list[tuple[Any, int]]:
    """Return each value and how often it comes in a row."""
    return [(value, sum(1 for _ in same)) for value, same in groupby(values)]


def _about_column(name: str, some: Sequence[Rows]) -> "pd.Series[Any]":
    """Take a column of `COLUMNS` out of *some*, one value per outcome."""
    parts = [each.about.pop(name) for each in some]
    if name == "seconds":
        return _series(np.concatenate([*parts, np.empty(0)]))
    values = chain.from_iterable(parts)
    if name != "unit_key":
        values = chain.from_iterable(repeat(value, count) for value, count in values)
    return _series(np.array(list(values), dtype="int64" if name == "attempts" else "object"))


def _repeated(column: "pd.Series[Any]", rows: Sequence[int]) -> "pd.Series[Any]":
    """Return *column* with each value in as many rows as its outcome has."""
    if all(count == 1 for count in rows):
        return column
    repeated = np.empty(sum(rows), dtype=column.to_numpy().dtype)
    at = 0
    # A fifth of the time that np.repeat takes for objects.
    for value, count in zip(column, rows, strict=True):
        repeated[at : at + count] = value
        at += count
    return _series(repeated)


def _one_row_each(pairs: Sequence[tuple[UnitOutcome, Any]]) -> _Part:
    results = [
        {} if not outcome.succeeded else result if _has_fields(result) else {"result": result}
        for outcome, result in pairs
    ]
    fields = dict.fromkeys(name for result in results for name in result)
    columns = {name: _packed([each.get(name) for each in results]) for name in fields}
    return _Part([1] * len(results), columns, is_frame=False)


def _packed(values: list[Any]) -> Any:
    """Return *values* as an array that gives back the same, where all are numbers of one kind."""
    kinds = set(map(type, values))
    if len(kinds) != 1 or (kind := kinds.pop()) not in (int, float, bool):
        return values
    try:
        return np.array(values, dtype="int64" if kind is int else kind)
    except OverflowError:  # larger than 64 bits
        return values


def _joined_values(parts: Sequence[_Part]) -> _Part:
    """Return parts of which each outcome is a row as one: its columns are as if all values had come together."""
    rows = [1] * sum(len(part.rows) for part in parts)
    fields = dict.fromkeys(name for part in parts for name in part.columns)
    return _Part(rows, {name: _column_of_values(parts, name) for name in fields}, is_frame=False)


def _column_of_values(parts: Sequence[_Part], name: Any) -> "pd.Series[Any]":
    packs = [part.columns.pop(name, None) for part in parts]
    dtypes = {each.dtype if isinstance(each, np.ndarray) else None for each in packs}
    if len(dtypes) == 1 and None not in dtypes:
        return _series(np.concatenate(packs))
    values: list[Any] = []
    for part, pack in zip(parts, packs, strict=True):
        values += (
            [None] * len(part.rows)
            if pack is None
            else pack.tolist()
            if isinstance(pack, np.ndarray)
            else pack
        )
    return _values(values)


def _has_fields(result: Any) -> bool:
    return isinstance(result, dict) and all(isinstance(name, str) for name in result)


def _texts(values: Iterable[str | None]) -> "pd.Series[Any]":
    column: pd.Series[Any] = pd.Series(list(values), dtype="object")
    return column


def _values(values: list[Any]) -> "pd.Series[Any]":
    """Return a column of results, the same under pandas 2 and 3; None where there is none, NaN among numbers."""
    if isinstance(next((each for each in values if each is not None), None), _NUMPY_SCALARS):
        return _numpy_values(values)
    if any(isinstance(each, _CONTAINERS) for each in values):
        return _cells(values)
    # Beside a None or a float pandas makes floats of integers, which above 2**53 are other numbers, and
    # from 2**1024 on none at all.
    large = any(isinstance(each, int) and abs(each) > 2**53 for each in values)
    exact = large and not all(isinstance(each, int) for each in values)
    column: pd.Series[Any] = pd.Series(values, dtype="object" if exact else None)
    # pandas 3 has a type for text, in which None becomes NaN.
    return _texts(values) if isinstance(column.dtype, pd.StringDtype) else column


_NUMPY_SCALARS = (np.number, np.bool_, np.datetime64, np.timedelta64)
#: Values that stay whole in their cell, where pandas would look into them.
_CONTAINERS = (np.ndarray, pd.Series, pd.Index, pd.DataFrame, list, tuple, dict, set, frozenset)


def _numpy_values(values: list[Any]) -> "pd.Series[Any]":
    """Return a column with the dtype that all the scalars have; as pandas extends it where there is none."""
    there = [number for number, each in enumerate(values) if each is not None]
    if len({type(values[number]) for number in there}) > 1:
        return pd.Series(values)
    present: pd.Series[Any] = pd.Series(np.array([values[number] for number in there]), index=there)
    return present.reindex(range(len(values)))


def _cells(values: list[Any]) -> "pd.Series[Any]":
    column: pd.Series[Any] = pd.Series(np.fromiter(values, dtype=object, count=len(values)))
    return column
