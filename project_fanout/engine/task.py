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
        put_off: how often it has asked to be tried again later, which counts as no attempt.
        died: in how many earlier runs it was in work when they died.
        last: what these came to, if that was not a success and another one is due.
        outcome: how it ended; None while it has not.
        reused: whether that was in an earlier run.
        waited: seconds from when its step had it until it was first started; None while it has not ended once.
    """

    record_key: str
    unit: EncodedUnit
    fingerprint: str
    attempts: int = 0
    put_off: int = 0
    died: int = 0
    last: UnitReply | None = None
    outcome: UnitOutcome | None = None
    reused: bool = False
    waited: float | None = None
