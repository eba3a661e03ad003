"""Values of any supported type as MessagePack with extensions, and back.

A value is walked once: what MessagePack has by itself stays as it is, everything else becomes an extension whose tag
names its type in `KINDS`. The walk knows where it is, so what cannot travel is refused with its place.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import PurePath
from typing import Any

import ormsgpack

from project_fanout.engine.errors import DamagedValueError, UnsupportedValueError
from project_fanout.engine.values.json_text import json_or_none, type_of
from project_fanout.engine.values.kinds import KINDS, Tag, kind_of

# ormsgpack ends at 256 levels of its own.
_DEEPEST = 200
_AS_IT_IS = frozenset({str, float, bool, type(None), bytes})
_SCALARS = _AS_IT_IS | {int}
#: MessagePack's first bytes of an extension.
_EXTENSIONS = {bytes([first]) for first in (*range(0xC7, 0xCA), *range(0xD4, 0xD9))}
_BASES: tuple[type, ...] = (str, int, float, bytes, tuple, list, dict, set, frozenset)


def pack(value: object, what: str) -> str | tuple[bytes, list[memoryview]]:
    """Return *value* packed, and the buffers of its arrays; JSON text, where what travels of it is just that.

    Raises:
        UnsupportedValueError: a part of *value* cannot travel.
    """
    for wrap_texts in (False, True):
        packer = Packer(what, wrap_texts=wrap_texts)
        try:
            portable = packer.portable(value)
            if not wrap_texts and (text := json_or_none(portable)) is not None:
                return text  # of an Enum, a dataclass or a model only the data travels
            return packer.packed(portable), packer.buffers
        except TypeError as error:
            # Half of a surrogate pair, which MessagePack has no place for: found only now, because it is rare.
            if wrap_texts or "surrogates" not in str(error):
                raise
    raise AssertionError  # for the type checker


def unpack(tree: memoryview, buffers: Sequence[memoryview]) -> Any:
    """Return the value that `pack` has packed.

    Raises:
        DamagedValueError: these bytes are none.
    """
    return Unpacker(buffers).read(tree)


def unpack_columns(tree: memoryview, buffers: Sequence[memoryview]) -> Any:
    """Return the columns of a value that is a frame, as `tables.Columns`; None if it is something else.

    Raises:
        DamagedValueError: the value is none.
    """
    if bytes(tree[:1]) not in _EXTENSIONS:
        return None
    unpacker = Unpacker(buffers, read_only=True)
    tag, content = unpacker.read(tree, lambda tag, content: (tag, content))
    if tag != Tag.FRAME:
        return None
    from project_fanout.engine.values.tables import Columns  # noqa: PLC0415  # imports pandas

    parts = unpacker.read(content)
    if len(parts) != len(Columns._fields):
        raise DamagedValueError(
            f"A stored frame has {len(parts)} parts, it should have {len(Columns._fields)}."
        )
    return Columns(*parts)


@dataclasses.dataclass(slots=True)
class Packer:
    """Makes MessagePack of one value.

    Args:
        what: what messages call the value.
        wrap_texts: whether texts may hold halves of surrogate pairs.
        buffers: what arrays have put beside it.
    """

    what: str
    wrap_texts: bool = False
    buffers: list[memoryview] = dataclasses.field(default_factory=list)
    _place: list[str] = dataclasses.field(default_factory=list)

    def portable(self, value: Any, place: str = "") -> Any:
        """Return *value* as MessagePack has it: types of its own, and extensions.

        Args:
            value: the value or a part of it.
            place: of the part in what contains it, as Python writes it: "[3]", ".model".

        Raises:
            UnsupportedValueError: it cannot travel.
        """
        kind = type(value)
        if kind in _AS_IT_IS and not (self.wrap_texts and kind is str):
            return value
        if len(self._place) > _DEEPEST:
            raise UnsupportedValueError(
                f"{self.what} is nested deeper than {_DEEPEST} levels or contains itself, and cannot travel."
            )
        self._place.append(place)
        portable = self._portable(value, kind)
        self._place.pop()
        return portable

    def packed(self, portable: Any) -> bytes:
        """Return what `portable` has returned as bytes."""
        return ormsgpack.packb(portable)

    def ext(self, tag: Tag, content: Any) -> ormsgpack.Ext:
        """Return the extension *tag* that holds *content*, which is portable."""
        return ormsgpack.Ext(tag, self.packed(content))

    def buffer(self, content: memoryview) -> int:
        """Put *content* beside the tree and return its number there."""
        self.buffers.append(content)
        return len(self.buffers) - 1

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Name the part in work, in what contains it, while the block runs."""
        self._place.append(place)
        yield
        self._place.pop()

    def items(self, values: Iterable[Any], kinds: Iterable[type] | None = None) -> list[Any]:
        """Return the portable items of a list; *kinds*: their types, where somebody has looked at them."""
        if not isinstance(values, list):
            values = list(values)
        if not self.wrap_texts and _AS_IT_IS.issuperset(map(type, values) if kinds is None else kinds):
            return values
        return [self.portable(value, f"[{index}]") for index, value in enumerate(values)]

    def refusal(self, problem: str, remedy: str) -> UnsupportedValueError:
        """Return the error that says what is wrong with the part in work, and what to write instead."""
        return UnsupportedValueError(f"{self.what}{''.join(self._place)} {problem}: {remedy}.")

    def _portable(self, value: Any, kind: type) -> Any:
        if kind is int:
            small = -(2**63) <= value < 2**64
            return value if small else ormsgpack.Ext(Tag.INT, _int_bytes(value))
        if kind is str:
            return _text(value)
        if kind is list:
            return self.items(value)
        if kind is dict:
            return self._dict(value)
        if (known := kind_of(value)) is not None:
            return known.pack(self, value)
        return self._data(value, kind)

    def _data(self, value: Any, kind: type) -> Any:
        """Return what travels of an object of somebody's class: its data."""
        if isinstance(value, Enum):
            return self.portable(value.value)
        if dataclasses.is_dataclass(value) and kind.__module__ != "project_fanout.engine.model":
            return self._fields(
                {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            )
        if hasattr(kind, "__pydantic_validator__"):
            if getattr(kind, "__pydantic_root_model__", False):
                return self.portable(value.root)
            return self._fields({**value.__dict__, **(value.__pydantic_extra__ or {})})
        for base in _BASES:
            if isinstance(value, base):
                return self.portable(_plain(base, value))
        if isinstance(value, PurePath):
            return KINDS[Tag.PATH].pack(self, value)
        raise self.refusal(*_why_not(value))

    def _fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {name: self.portable(value, f".{name}") for name, value in fields.items()}

    def _dict(self, value: dict[Any, Any]) -> Any:
        if all(type(key) is str for key in value) and not self.wrap_texts:
            if _AS_IT_IS.issuperset(map(type, value.values())):
                return value
            return {key: self.portable(item, f"[{key!r}]") for key, item in value.items()}
        keys = [self.key(key) for key in value]
        if len(set(keys)) < len(value):
            twice = next(key for number, key in enumerate(keys) if key in keys[:number])
            raise self.refusal(
                f"has two keys of which the same travels, {twice!r}", "make them differ in their data"
            )
        pairs = [
            part
            for key, (own, item) in zip(keys, value.items(), strict=True)
            for part in (self.portable(key), self.portable(item, f"[{own!r}]"))
        ]
        if not self.wrap_texts and all(type(key) is str for key in keys):
            return dict(zip(pairs[::2], pairs[1::2], strict=True))
        return ormsgpack.Ext(Tag.DICT, self.packed(pairs))

    def key(self, key: Any) -> Any:
        """Return what travels of a dict's key or a set's item: something that a dict or set can hold again.

        Raises:
            UnsupportedValueError: it is something else.
        """
        kind = type(key)
        if kind in _SCALARS:
            return key
        if isinstance(key, Enum):
            return self.key(key.value)
        if isinstance(key, (tuple, frozenset)):
            return (tuple if isinstance(key, tuple) else frozenset)(self.key(item) for item in key)
        if (known := kind_of(key)) is not None and known.hashable:
            return key
        for base in (str, int, float, bytes):
            if isinstance(key, base):
                return _plain(base, key)
        if isinstance(key, PurePath):
            return key
        raise self.refusal(
            f"has the key or item {key!r}, {type_of(key)}, of which only the data travels, which no dict or set holds",
            "use text or numbers, or a list",
        )


@dataclasses.dataclass(slots=True)
class Unpacker:
    """Makes the value again.

    Args:
        buffers: what stands beside the tree.
        read_only: whether arrays may lie in these, and so not be written to.
    """

    buffers: Sequence[memoryview]
    read_only: bool = False
    _problem: Exception | None = None

    def read(self, tree: bytes | memoryview, hook: Callable[[int, bytes], Any] | None = None) -> Any:
        """Return the value of *tree*; *hook* makes something else of its extensions.

        Raises:
            DamagedValueError: it holds none.
        """
        try:
            return ormsgpack.unpackb(tree, ext_hook=hook or self._extension)
        except ValueError as error:
            problem = self._problem or error
            raise DamagedValueError(
                f"A stored value cannot be read ({type(problem).__name__}: {problem}): it was changed, or written "
                "by a later version of project_fanout."
            ) from problem

    def parts(self, content: bytes) -> Any:
        """Return what an extension within the value holds; what goes wrong is said by `read`."""
        return ormsgpack.unpackb(content, ext_hook=self._extension)

    def buffer(self, number: int) -> memoryview:
        """Return what `Packer.buffer` has put at *number*."""
        return self.buffers[number]

    def _extension(self, tag: int, content: bytes) -> Any:
        # What a hook raises is lost to ormsgpack's own error.
        try:
            return KINDS[Tag(tag)].unpack(self, content)
        except Exception as error:
            self._problem = self._problem or error
            raise


def _plain(base: type, value: Any) -> Any:
    """Return *value*, an instance of a subclass, as *base* itself, whatever the subclass makes of conversions."""
    if base is bytes:
        return bytes(memoryview(value))
    if base in (str, int, float):
        convert: Callable[[Any], Any] = {str: str.__str__, int: int.__int__, float: float.__float__}[base]
        return convert(value)
    if base is dict:
        return {key: dict.__getitem__(value, key) for key in dict.keys(value)}
    return base(base.__iter__(value))  # type: ignore[attr-defined]  # all others are iterable


def _int_bytes(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _text(value: str) -> Any:
    try:
        value.encode()
    except UnicodeEncodeError:
        return ormsgpack.Ext(Tag.TEXT, value.encode("utf-8", "surrogatepass"))
    return value


#: What to write instead of objects that people return by mistake, by the names of their types.
_REMEDIES = {
    "generator": "make a list of it, list(...)",
    "map": "make a list of it, list(...)",
    "filter": "make a list of it, list(...)",
    "zip": "make a list of it, list(...)",
    "dict_keys": "make a list of it, list(...)",
    "dict_values": "make a list of it, list(...)",
    "coroutine": "await it",
    "function": "give what it returns, or its name",
    "type": "give its name",
    "module": "give its name",
    "TextIOWrapper": "give its path, or what it holds",
    "BufferedReader": "give its path, or what it holds",
    "Unit": "to give units to the next stage, return Fanout([Unit(key, payload), ...]) with nothing around it",
    "Fanout": "to give units to the next stage, return Fanout([Unit(key, payload), ...]) with nothing around it",
}


def _why_not(value: object) -> tuple[str, str]:
    remedy = _REMEDIES.get(
        type(value).__name__,
        "give its data as numbers, text, dicts, lists, arrays or DataFrames, or save it to a file and give the path",
    )
    return f"is {type_of(value)}, which cannot travel between processes", remedy
