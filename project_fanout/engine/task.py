"""`Task`: a unit in the hands of a step."""

from dataclasses import dataclass

from project_fanout.engine.model import UnitOutcome
from project_fanout.engine.pools.calls import UnitReply
from project_fanout.engine.record_state import EncodedUnit


@dataclass(slots=True)
class Task:
    """One unit in the hands of a step, from its first attempt to its outcome.

    Args:
        record_key: the record that it belongs to.
        unit: the unit.
        fingerprint: names stage, key, payload and params: what makes it the same unit in another run.
        attempts: how often it has been started.
        last: what these came to, if that was not a success and another one is due.
        outcome: how it ended; None while it has not.
        reused: whether that was in an earlier run.
    """

    record_key: str
    unit: EncodedUnit
    fingerprint: str
    attempts: int = 0
    last: UnitReply | None = None
    outcome: UnitOutcome | None = None
    reused: bool = False
