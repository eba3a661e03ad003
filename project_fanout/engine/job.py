"""`Job`: a unit in the hands of a step, and `Ended`: what came of it."""

from dataclasses import dataclass

from project_fanout.engine.model import Unit
from project_fanout.engine.pools.calls import UnitReply


@dataclass(frozen=True, slots=True)
class Ended:
    """How a unit ended: its last reply, after how many attempts, and their seconds together."""

    reply: UnitReply
    attempts: int
    seconds: float


@dataclass(slots=True)
class Job:
    """One unit in the hand of a step.

    Args:
        record_key: the record that it belongs to.
        unit: the unit.
        payload_json: its payload as JSON text.
        fingerprint: names stage, key, payload and params: what makes it the same unit in another run.
        attempts: how often it has been started.
        seconds: time in workers, all attempts together.
        last: what its last attempt came to, if that was not a success and another one is due.
        ended: how it ended; None while it has not.
        reused: whether that was in an earlier run.
    """

    record_key: str
    unit: Unit
    payload_json: str
    fingerprint: str
    attempts: int = 0
    seconds: float = 0.0
    last: UnitReply | None = None
    ended: Ended | None = None
    reused: bool = False
