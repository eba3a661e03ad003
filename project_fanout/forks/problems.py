"""What is wrong with a request: each cause once, with the first places that it was found at."""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field

_PLACES = 5  # named of each cause
_CAUSES = 50  # named of a request
_LONGEST_TEXT = 1_000
_LONGEST_VALUE = 200


@dataclass
class Problems:
    """The problems of one request, found in any order.

    Five thousand tasks with one mistake are one problem, not a message that nobody reads to its end.
    """

    _places: dict[Hashable, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, what: str, where: str = "", kind: Hashable = None) -> None:
        """Note a problem.

        Args:
            what: what is wrong, in words.
            where: the place in the request; "" where *what* says it.
            kind: problems of the same kind are one; by default those of the same words.
        """
        self._places.setdefault(what if kind is None else kind, []).append((where, what.removesuffix(".")))

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        """Yield a text for each, and for those beyond the first 50 one text together."""
        for found in list(self._places.values())[:_CAUSES]:
            yield _in_words(found)
        if len(self) > _CAUSES:
            yield f"and {len(self) - _CAUSES:,} more"


def some(names: Iterable[str]) -> str:
    """Return the first of *names*, and how many more there are."""
    names = list(dict.fromkeys(names))
    more = len(names) - _PLACES
    return ", ".join(names[:_PLACES]) + (f" and {more:,} more" if more > 0 else "")


def shown(value: object) -> str:
    """Return *value* as a message shows it: its beginning, where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _in_words(found: list[tuple[str, str]]) -> str:
    what = found[0][1]
    alike = all(other == what for _, other in found)
    if len(what) > _LONGEST_TEXT:
        what = f"{what[: _LONGEST_TEXT // 2]} … {what[-_LONGEST_TEXT // 2 :]}"
    if places := some(where for where, _ in found if where):
        return f"{places}: {what}" + (
            "" if alike else "; this is the first, the others differ in their values"
        )
    return what if alike else f"{what}; and {len(found) - 1:,} more like it"
