"""The types that travel as what they are, beside those of JSON: a tag for each, and how it is packed and unpacked.

The tags are stored in ledgers: a new kind gets a new one, and none is ever used again for something else.
"""

import datetime as dt
import importlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from project_fanout.engine.values.packing import Packer, Unpacker


class Tag(IntEnum):
    """What an extension holds."""

    TEXT = 1
    INT = 2
    TUPLE = 3
    SET = 4
    FROZENSET = 5
    DICT = 6
    COMPLEX = 7
    BYTEARRAY = 8
    DATETIME = 9
    DATE = 10
    TIME = 11
    TIMEDELTA = 12
    DECIMAL = 13
    UUID = 14
    PATH = 15
    RANGE = 16
    NUMPY_SCALAR = 32
    ARRAY = 33
    OBJECT_ARRAY = 34
    TIMESTAMP = 48
    PANDAS_TIMEDELTA = 49
    NOT_A_TIME = 50
    NOT_AVAILABLE = 51
    SERIES = 52
    INDEX = 53
    FRAME = 54
    COLUMN = 55
    ARROW_TABLE = 64


@dataclass(frozen=True, slots=True)
class Kind:
    """One type: how it is packed and unpacked.

    Args:
        pack: returns the extension of a value.
        unpack: returns the value of an extension's content.
        hashable: whether a dict may have it as a key.
    """

    pack: "Callable[[Packer, Any], Any]"
    unpack: "Callable[[Unpacker, bytes], Any]"
    hashable: bool = True


def kind_of(value: object) -> Kind | None:
    """Return the kind of *value*, None for an object of a class that is not known."""
    kind = type(value)
    if (tag := _TAGS.get(kind)) is not None:
        return KINDS[tag]
    library = kind.__module__.partition(".")[0]
    if library in ("numpy", "pandas", "pyarrow"):
        from project_fanout.engine.values import tables  # noqa: PLC0415  # imports what the value is made with

        return tables.kind_of(value, library)
    # A datetime of another library, such as pendulum's or freezegun's.
    for base in (dt.datetime, dt.date, dt.time, dt.timedelta, Decimal, uuid.UUID):
        if isinstance(value, base):
            return KINDS[_TAGS[base]]
    return None


def zone_parts(zone: dt.tzinfo | None) -> list[Any] | None:
    """Return what a time zone travels as, None where it has no name and no offset of its own."""
    if zone is None:
        return []
    if isinstance(zone, dt.timezone):
        seconds = zone.utcoffset(None).total_seconds()
        return (
            ["offset", seconds]
            if zone == dt.timezone(zone.utcoffset(None))
            else ["offset", seconds, zone.tzname(None)]
        )
    if key := getattr(zone, "key", None):
        return ["zone", key]
    return ["pytz", name] if (name := getattr(zone, "zone", None)) else None


def zone_of(parts: list[Any]) -> dt.tzinfo | None:
    """Return the time zone of what `zone_parts` has returned."""
    if not parts:
        return None
    if parts[0] == "offset":
        offset = dt.timedelta(seconds=parts[1])
        if parts[1] == 0 and len(parts) == 2:
            return dt.timezone.utc
        return dt.timezone(offset, *parts[2:])
    if parts[0] == "pytz":
        try:
            zone: dt.tzinfo = importlib.import_module("pytz").timezone(parts[1])
        except ImportError:
            pass
        else:
            return zone
    return ZoneInfo(parts[1])


def _tuple(packer: "Packer", value: tuple[Any, ...]) -> Any:
    return packer.ext(Tag.TUPLE, packer.items(value))


def _set(packer: "Packer", value: "set[Any] | frozenset[Any]") -> Any:
    items = [packer.key(item) for item in value]
    if len(set(items)) < len(value):
        raise packer.refusal("has two items of which the same travels", "make them differ in their data")
    # In an order that no hash seed changes, so that the same set has the same fingerprint.
    packed = sorted(packer.packed(packer.portable(item)) for item in items)
    tag = Tag.FROZENSET if isinstance(value, frozenset) else Tag.SET
    return packer.ext(tag, packed)


def _datetime(packer: "Packer", value: dt.datetime) -> Any:
    zone = zone_parts(value.tzinfo)
    if zone is not None and zone[:1] == ["pytz"]:
        # Its own zones are one for each offset of a place.
        value, zone = value.astimezone(ZoneInfo(zone[1])), ["zone", zone[1]]
    if zone is None:
        zone = ["offset", value.utcoffset().total_seconds()]  # type: ignore[union-attr]  # it has a zone
    naive = value.replace(tzinfo=None, fold=0)
    return packer.ext(Tag.DATETIME, [dt.datetime.isoformat(naive), value.fold, zone])


def _datetime_of(unpacker: "Unpacker", content: bytes) -> dt.datetime:
    text, fold, zone = unpacker.parts(content)
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone_of(zone), fold=fold)


def _time(packer: "Packer", value: dt.time) -> Any:
    zone = zone_parts(value.tzinfo)
    if zone is None or zone[:1] == ["pytz"]:
        raise packer.refusal(f"has the time zone {value.tzinfo!r}", "use zoneinfo.ZoneInfo")
    return packer.ext(Tag.TIME, [dt.time.isoformat(value.replace(tzinfo=None, fold=0)), value.fold, zone])


def _time_of(unpacker: "Unpacker", content: bytes) -> dt.time:
    text, fold, zone = unpacker.parts(content)
    return dt.time.fromisoformat(text).replace(tzinfo=zone_of(zone), fold=fold)


def _path_of(unpacker: "Unpacker", content: bytes) -> PurePath:
    name, text = unpacker.parts(content)
    return _PATHS[name](text)


def _path(packer: "Packer", value: PurePath) -> Any:
    kind = next((kind for kind in type(value).__mro__ if kind in _PATHS.values()), None)
    name = next((name for name, known in _PATHS.items() if known is kind), "Path")
    return packer.ext(Tag.PATH, [name, packer.portable(str(value))])


_PATHS: dict[str, Callable[..., PurePath]] = {
    "Path": Path,
    "PurePosixPath": PurePosixPath,
    "PureWindowsPath": PureWindowsPath,
}


def _simple(
    tag: Tag, parts: Callable[[Any], Any], make: Callable[..., Any], *, hashable: bool = True
) -> Kind:
    """Return the kind of a type that *make* makes of the list of what *parts* takes it apart to."""
    return Kind(
        lambda packer, value: packer.ext(tag, [packer.portable(part) for part in parts(value)]),
        lambda unpacker, content: make(*unpacker.parts(content)),
        hashable,
    )


def _library(tag: Tag) -> Kind:
    """Return the kind of a value of numpy, pandas or pyarrow; these are imported when one comes."""

    def pack(packer: "Packer", value: Any) -> Any:
        from project_fanout.engine.values import tables  # noqa: PLC0415  # imports what the value is made with

        return tables.PACK[tag](packer, value)

    def unpack(unpacker: "Unpacker", content: bytes) -> Any:
        from project_fanout.engine.values import tables  # noqa: PLC0415  # imports what the value is made with

        return tables.UNPACK[tag](unpacker, unpacker.parts(content))

    hashable = tag in (
        Tag.NUMPY_SCALAR,
        Tag.TIMESTAMP,
        Tag.PANDAS_TIMEDELTA,
        Tag.NOT_A_TIME,
        Tag.NOT_AVAILABLE,
    )
    return Kind(pack, unpack, hashable)


KINDS: dict[Tag, Kind] = {
    Tag.TEXT: Kind(lambda _, value: value, lambda _, content: content.decode("utf-8", "surrogatepass")),
    Tag.INT: Kind(lambda _, value: value, lambda _, content: int.from_bytes(content, "big", signed=True)),
    Tag.TUPLE: Kind(_tuple, lambda unpacker, content: tuple(unpacker.parts(content))),
    Tag.SET: Kind(
        _set, lambda unpacker, content: set(map(unpacker.parts, unpacker.parts(content))), hashable=False
    ),
    Tag.FROZENSET: Kind(
        _set, lambda unpacker, content: frozenset(map(unpacker.parts, unpacker.parts(content)))
    ),
    Tag.DICT: Kind(
        lambda packer, value: packer.portable(dict(value)),
        lambda unpacker, content: _pairs(unpacker.parts(content)),
        hashable=False,
    ),
    Tag.COMPLEX: _simple(Tag.COMPLEX, lambda value: (value.real, value.imag), complex),
    Tag.BYTEARRAY: _simple(Tag.BYTEARRAY, lambda value: (bytes(value),), bytearray, hashable=False),
    Tag.DATETIME: Kind(_datetime, _datetime_of),
    Tag.DATE: _simple(Tag.DATE, lambda value: (dt.date.isoformat(value),), dt.date.fromisoformat),
    Tag.TIME: Kind(_time, _time_of),
    Tag.TIMEDELTA: _simple(
        Tag.TIMEDELTA, lambda value: (value.days, value.seconds, value.microseconds), dt.timedelta
    ),
    Tag.DECIMAL: _simple(Tag.DECIMAL, lambda value: (str(value),), Decimal),
    Tag.UUID: _simple(Tag.UUID, lambda value: (value.bytes,), lambda content: uuid.UUID(bytes=content)),
    Tag.PATH: Kind(_path, _path_of),
    Tag.RANGE: _simple(Tag.RANGE, lambda value: (value.start, value.stop, value.step), range),
    **{tag: _library(tag) for tag in Tag if tag >= Tag.NUMPY_SCALAR},
}

_TAGS: dict[type, Tag] = {
    tuple: Tag.TUPLE,
    set: Tag.SET,
    frozenset: Tag.FROZENSET,
    complex: Tag.COMPLEX,
    bytearray: Tag.BYTEARRAY,
    dt.datetime: Tag.DATETIME,
    dt.date: Tag.DATE,
    dt.time: Tag.TIME,
    dt.timedelta: Tag.TIMEDELTA,
    Decimal: Tag.DECIMAL,
    uuid.UUID: Tag.UUID,
    PosixPath: Tag.PATH,
    WindowsPath: Tag.PATH,
    PurePosixPath: Tag.PATH,
    PureWindowsPath: Tag.PATH,
    range: Tag.RANGE,
}


def _pairs(parts: list[Any]) -> dict[Any, Any]:
    return dict(zip(parts[::2], parts[1::2], strict=True))
