"""One attempt of a unit, or of a batch of them, in a worker: the call of the stage, and what surrounds it.

Each concern is a ring: `async def ring(attempt, call_next)`, composed in `runtime`. A synchronous stage is called by
the same rings: a coroutine that awaits nothing ends with its first step.
"""
