"""Settings: what a dataclass or a constructor declares as `Annotated[type, "what it does", Bounds(...)]`.

One declaration is checked here, is shown in the Launchpad (`orchestration.settings`) and is a row in the docs.
"""

import functools
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from project_fanout.engine.annotations import accepted_words, is_union
from project_fanout.engine.errors import FanoutDefinitionError


@dataclass(frozen=True)
class Bounds:
    """What a number may be: at least *ge*, more than *gt*, at most *le*.

    The same as an `annotated_types.Interval` to all that read those, such as pydantic, but a worker imports it
    without that module: see `annotations`.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None

    __is_annotated_types_grouped_metadata__: typing.ClassVar[Literal[True]] = True

    def __iter__(self) -> Iterator[Any]:
        from annotated_types import Interval  # noqa: PLC0415  # see above

        return iter(Interval(ge=self.ge, gt=self.gt, le=self.le))

    def hold(self, value: float) -> bool:
        """Tell whether *value* is within them; NaN never is."""
        return (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
        )


@functools.cache
def declared_settings(owner: type) -> Mapping[str, Any]:
    """Return the annotations of what *owner*, a dataclass or another class, is made with, by name."""
    annotations = typing.get_type_hints(owner.__init__, include_extras=True)  # type: ignore[misc]  # of this very class
    return {name: annotation for name, annotation in annotations.items() if name != "return"}


def check_settings(owner: type, values: Mapping[str, Any]) -> None:
    """Refuse those of *values*, by name, that are not what *owner* declares. Nothing is converted.

    Raises:
        FanoutDefinitionError: names each of them, its value and what is accepted.
    """
    if problems := [
        f"{name} is {values[name]!r}, accepted: {accepted_words(annotation)}"
        for name, annotation in declared_settings(owner).items()
        if name in values and not _is_of(values[name], annotation)
    ]:
        raise FanoutDefinitionError(f"{owner.__name__}: {'; '.join(problems)}.")


def _is_of(value: Any, annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        kind, *metadata = get_args(annotation)
        bounds = [bound for bound in metadata if isinstance(bound, Bounds)]
        return _is_of(value, kind) and (value is None or all(bound.hold(value) for bound in bounds))
    if is_union(annotation):
        return any(_is_of(value, kind) for kind in get_args(annotation))
    if get_origin(annotation) is Literal:
        return isinstance(value, str) and value in get_args(annotation)
    if annotation is Any:
        return True
    if get_origin(annotation) is dict:
        return isinstance(value, dict)
    if isinstance(value, bool):
        return annotation is bool
    return isinstance(value, (int, float) if annotation is float else annotation)
