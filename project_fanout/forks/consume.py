"""One list, consumed twice with other extra parameters: Hera's example of extra kwargs."""

import logging
from collections.abc import Iterator

from project_fanout.engine.model import Record, Unit

_log = logging.getLogger(__name__)


def each_value(generate: list[int]) -> Iterator[Record]:
    """Yield one record for each value that *generate* holds."""
    for value in generate:
        yield Record(key=str(value), units=[Unit(key=str(value), payload=value)])


def consume(unit: Unit, *, extra_param1: str, extra_param2: int = 42) -> str:
    """Say what was received, in the run's log and as the result."""
    message = f"Received value={unit.payload}, extra_param1={extra_param1}, extra_param2={extra_param2}!"
    _log.info(message)
    return message
