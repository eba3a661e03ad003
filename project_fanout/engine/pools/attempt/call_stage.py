"""The heart of an attempt: give the stage its unit or units, and make replies of what it returns."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from project_fanout.engine.errors import InvalidBatchError, UnsupportedValueError
from project_fanout.engine.model import Fanout, Unit, UnitError, UnitFailure
from project_fanout.engine.pools.attempt.attempt import Attempt, Next
from project_fanout.engine.pools.attempt.failure import described
from project_fanout.engine.pools.calls import UnitCall, UnitReply
from project_fanout.engine.typed_payloads import typed_payload
from project_fanout.engine.values import Encoded, decode, encode, encoded_size

#: Longest result, encoded, that a pool accepts unless told otherwise.
MAX_RESULT_BYTES = 64 * 1024 * 1024


async def call_stage(attempt: Attempt, *, max_result_bytes: int = MAX_RESULT_BYTES) -> list[UnitReply]:
    """Call the stage once and return the reply to each call.

    Args:
        attempt: stage and params are there.
        max_result_bytes: longest result, encoded, that is not refused where the call has no value store.
    """
    units = [
        Unit(call.unit_key, typed_payload(attempt.stage, decode(call.payload))) for call in attempt.calls
    ]
    is_batch = attempt.call.batch_size is not None
    result = attempt.stage(units if is_batch else units[0], **attempt.params)
    if attempt.call.is_async:
        result = await result
    attempt.returned = True
    if not is_batch:
        return [_succeeded(result, attempt.call, max_result_bytes)]
    results = _one_each(result, attempt.calls)
    return [
        _reply_in_batch(each, call, max_result_bytes)
        for each, call in zip(results, attempt.calls, strict=True)
    ]


async def divide_failed(attempt: Attempt, call_next: Next) -> list[UnitReply]:
    """Ring: have each unit of a batch that has raised tried alone, so that the one that makes it fail is found."""
    replies = await call_next(attempt)
    if len(attempt.calls) == 1 or not attempt.begun or attempt.returned:
        return replies
    return [
        replace(reply, alone=True) if reply.status == "failed" and reply.again is None else reply
        for reply in replies
    ]


def _one_each(result: Any, calls: Sequence[UnitCall]) -> Sequence[Any]:
    try:
        results = list(result)
    except TypeError:
        results = None
    if results is None or isinstance(result, (str, bytes, dict)) or len(results) != len(calls):
        what = (
            type(result).__name__ if results is None else f"{len(results)} results ({type(result).__name__})"
        )
        raise InvalidBatchError(
            f"a batch of {len(calls)} units came back as {what}, accepted: a list of {len(calls)}, one result "
            "or UnitFailure(message) for each unit, in order."
        )
    return results


def _reply_in_batch(result: Any, call: UnitCall, max_bytes: int) -> UnitReply:
    if isinstance(result, UnitFailure):
        return UnitReply("failed", 0.0, error=UnitError("UnitFailure", result.message))
    try:
        return _succeeded(result, call, max_bytes)
    except Exception as error:  # the others of the batch have their results
        return UnitReply(
            "failed", 0.0, error=described(error), final=not isinstance(error, (MemoryError, OSError))
        )


def _succeeded(result: object, call: UnitCall, max_bytes: int) -> UnitReply:
    """Return the reply with the result encoded, or with key and encoded payload of each unit of a `Fanout`."""
    if not isinstance(result, Fanout):
        encoded = encode(result, "result", call.store)
        _check_size(encoded_size(encoded), max_bytes)
        return UnitReply("succeeded", 0.0, encoded)
    units: tuple[tuple[str, Encoded], ...] = tuple(
        (unit.key, encode(unit.payload, f"payload of unit {unit.key!r}", call.store)) for unit in result.units
    )
    _check_size(sum(len(key) + encoded_size(payload) for key, payload in units), max_bytes)
    return UnitReply("succeeded", 0.0, fanout=units)


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise UnsupportedValueError(
            f"the result takes {size:,} bytes, more than max_result_bytes = {max_bytes:,}: "
            "store it and return where it is."
        )
