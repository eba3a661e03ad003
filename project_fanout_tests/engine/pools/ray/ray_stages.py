"""A fan-out for the tests of `RayPool`, in a module that its workers import without Dagster."""

from collections.abc import Iterator

from project_fanout.engine import Record, Unit


def some_records() -> Iterator[Record]:
    """Yield two records with three units each."""
    for key in ("a b", "\u00fc"):
        yield Record(key, [Unit(str(index), {"value": index}) for index in range(3)])


def halve(unit: Unit, *, refuse: int = 1) -> dict[str, float]:
    """Return half of the payload's value, unless it is *refuse*."""
    if unit.payload["value"] == refuse:
        raise ValueError(f"{refuse} is refused")
    return {"half": unit.payload["value"] / 2}
