"""Stages over numbers, for chains of jobs."""

from typing import Any

from project_fanout.engine import Fanout, Unit
from project_fanout_tests.nightly import examples

#: How many recipients a page of the printed request has: a thousand in full size, as at night.
RECIPIENTS = examples(100, at_night=1_000)


def double(unit: Unit, *, by: int = 2) -> dict[str, int]:
    """Multiply the payload, a number or what this stage returned before."""
    value = unit.payload["value"] if isinstance(unit.payload, dict) else unit.payload
    return {"value": value * by}


def spread(unit: Unit) -> Fanout:
    """Fan out to as many numbers as the payload says."""
    return Fanout([Unit(str(number), number) for number in range(unit.payload)])


def page(unit: Unit, *, campaign: int, target_list: int) -> Fanout:
    """Fan out to the recipients of the page that the payload numbers."""
    first = (unit.payload - 1) * RECIPIENTS + 1
    return Fanout([Unit(str(number), number) for number in range(first, first + RECIPIENTS)])


def sent(unit: Unit) -> dict[str, int]:
    """Say who has been sent to."""
    return {"recipient": unit.payload}


def fail_on(unit: Unit, *, number: int) -> Any:
    """Return the payload, but for one number."""
    if unit.payload == number:
        raise ValueError(f"{number} is not welcome")
    return unit.payload
