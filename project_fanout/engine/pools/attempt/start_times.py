"""When an attempt may start whose asset has a `max_per_second`."""

import time

from project_fanout.engine.pools.attempt.attempt import Attempt, Next
from project_fanout.engine.pools.calls import UnitReply


async def keep_start(attempt: Attempt, call_next: Next) -> list[UnitReply]:
    """Ring: begin at the time that the rate allows, or not at all where that has passed: then there is no reply.

    It has passed where the worker had to be started, or a module imported. The pool gives the calls another time.
    """
    if attempt.start is None:
        return await call_next(attempt)
    if (wait_s := attempt.start.at - time.time()) > 0:
        if attempt.call.is_async:
            import asyncio  # noqa: PLC0415  # 30 ms, for coroutines alone

            await asyncio.sleep(wait_s)
        else:
            time.sleep(wait_s)  # noqa: ASYNC251  # there is no event loop around a function
    if time.time() > attempt.start.before:
        return []
    return await call_next(attempt)
