"""The events of one step, executed in the calling thread."""

from collections.abc import Iterator

from project_fanout.orchestration.internals import (
    DagsterEvent,
    StepExecutionContext,
    _trigger_hook,
    dagster_event_sequence_for_step,
)


def step_events(step_context: StepExecutionContext) -> Iterator[DagsterEvent]:
    """Execute a step in the calling thread; yield its events, then those of its hooks."""
    events: list[DagsterEvent] = []
    for event in dagster_event_sequence_for_step(step_context):
        events.append(event)
        yield event
    yield from _trigger_hook(step_context, events)
