"""The join of a fork: what became of each forked task, under its `taskReferenceName`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from project_fanout.engine.errors import FanoutError
from project_fanout.engine.model import RecordOutcome
from project_fanout.engine.plan import Plan


class JoinFailedError(FanoutError):
    """A task that is not optional did not complete; the message names each of them."""


TaskStatus = Literal["COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "TIMED_OUT"]

_NAMED_FAILURES = 20


@dataclass(frozen=True)
class Branch(Plan):
    """The plan of one forked task.

    Args:
        action: the action's name and version, for people.
        optional: whether the join completes without it.
        joined: whether the join has its result.
    """

    action: str = ""
    optional: bool = False
    joined: bool = True


class JoinedTask(TypedDict):
    """What the join says of one task; the first three names are Conductor's.

    Args:
        status: COMPLETED; COMPLETED_WITH_ERRORS for an optional task that did not succeed; else FAILED
            or TIMED_OUT.
        output: what its last stage returned. Where a stage has fanned out: a dict from unit key to result.
        reasonForIncompletion: None if it completed.
        action: name and version of the action.
        attempts: how often the stage was started that it ended in; the highest, where it fanned out.
        seconds: time in that stage, all attempts together; the sum, where it fanned out.
    """

    status: TaskStatus
    output: Any
    reasonForIncompletion: str | None
    action: str
    attempts: int
    seconds: float


def join_task(branch: Branch, outcome: RecordOutcome) -> JoinedTask:
    """Return what became of the task with the plan *branch*."""
    return JoinedTask(
        status=_status(branch, outcome),
        output=_output(outcome),
        reasonForIncompletion=_reason(outcome) if outcome.failed else None,
        action=branch.action,
        attempts=max((unit.attempts for unit in outcome.units), default=0),
        seconds=round(sum(unit.seconds for unit in outcome.units), 4),
    )


def failed_join_text(failed: Sequence[tuple[str, JoinedTask]], required: int) -> str:
    """Return the message of a join that fails: the counts, then the required tasks that did not complete."""
    lines = [f"The join failed: {len(failed)} of {required} required tasks did not complete:"]
    lines += [
        f"- {reference!r} ({task['action']}): {task['status']}, {task['reasonForIncompletion']}"
        for reference, task in failed[:_NAMED_FAILURES]
    ]
    if len(failed) > _NAMED_FAILURES:
        lines.append(f"- and {len(failed) - _NAMED_FAILURES} more.")
    return "\n".join(lines)


def _status(branch: Branch, outcome: RecordOutcome) -> TaskStatus:
    if not outcome.failed:
        return "COMPLETED"
    if branch.optional:
        return "COMPLETED_WITH_ERRORS"
    return "TIMED_OUT" if all(unit.status == "timed_out" for unit in outcome.failed) else "FAILED"


def _output(outcome: RecordOutcome) -> Any:
    if [unit.unit_key for unit in outcome.units] == [outcome.record_key]:
        return outcome.units[0].result
    return {unit.unit_key: unit.result for unit in outcome.units if unit.succeeded}


def _reason(outcome: RecordOutcome) -> str:
    first, *others = outcome.failed
    attempts = "attempt" if first.attempts == 1 else "attempts"
    reason = f"{first.status} in {first.stage} after {first.attempts} {attempts}: {first.error}"
    return f"{reason}; and {len(others)} more units" if others else reason
