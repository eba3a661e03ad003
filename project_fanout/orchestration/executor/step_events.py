"""The events of one step, executed in the calling thread."""

import asyncio
from collections.abc import Iterator
from typing import Any

from project_fanout.orchestration.internals import (
    DagsterEvent,
    StepExecutionContext,
    _trigger_hook,
    dagster_event_sequence_for_step,
)


def step_events(step_context: StepExecutionContext) -> Iterator[DagsterEvent]:
    """Execute a step in the calling thread; yield its events, then those of its hooks."""
    # An event loop belongs to one thread: async ops cannot share the run's.
    loop = _LazyEventLoop()
    step_context._event_loop = loop  # type: ignore[assignment]  # it is one when it is asked
    events: list[DagsterEvent] = []
    try:
        for event in dagster_event_sequence_for_step(step_context):
            events.append(event)
            yield event
    finally:
        loop.close()
    yield from _trigger_hook(step_context, events)


class _LazyEventLoop:
    """The asyncio event loop of one step, made when an async op asks for it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def __getattr__(self, name: str) -> Any:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return getattr(self._loop, name)

    def close(self) -> None:
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
