"""Steps that yield DynamicOutputs, and the mapped steps that hang on them."""

from dataclasses import dataclass, field
from typing import Any

from project_fanout.orchestration.internals import (
    ExecutionPlan,
    FromPendingDynamicStepOutput,
    UnresolvedMappedExecutionStep,
    UnresolvedMappedStepInput,
)

#: Output name and mapping key of a DynamicOutput.
Item = tuple[str, str]


@dataclass(slots=True)
class Producer:
    """A step that yields DynamicOutputs in this run, and what hangs on it."""

    mapped: dict[str, list[UnresolvedMappedExecutionStep]] = field(default_factory=dict)
    #: Mapped nodes that need nothing of the producer but their own item.
    direct: set[str] = field(default_factory=set)
    #: Items whose value the latest attempt has stored.
    stored: set[Item] = field(default_factory=set)
    #: The mapped steps of each item, whatever became of them.
    steps: dict[Item, list[str]] = field(default_factory=dict)
    #: Direct steps that wait for the producer's next attempt to store their item again.
    parked: dict[Item, list[str]] = field(default_factory=dict)
    in_flight: int = 0
    ended: bool = False


def find_producers(plan: ExecutionPlan) -> tuple[dict[str, Producer], dict[str, int]]:
    """Return what *plan* maps over: its producers by step key, and how deep in a chain each mapped node is."""
    producers: dict[str, Producer] = {}
    depths: dict[str, int] = {}
    wanted = set(plan.step_handles_to_execute)
    for handles in plan.resolvable_map.values():
        for handle in handles:
            step = plan.step_dict[handle]
            if handle not in wanted or not isinstance(step, UnresolvedMappedExecutionStep):
                continue
            producer = producers.setdefault(step.resolved_by_step_key, Producer())
            producer.mapped.setdefault(step.resolved_by_output_name, []).append(step)
            if _needs_only_its_item(step):
                producer.direct.add(str(step.node_handle))
            above = [depths.get(key.removesuffix("[?]"), 0) for key in step.get_all_dependency_keys()]
            depths[str(step.node_handle)] = 1 + max(above, default=0)
    return producers, depths


def _needs_only_its_item(step: UnresolvedMappedExecutionStep) -> bool:
    """Return whether all that *step* takes from its producer is the item itself."""
    tied = [each for each in step.step_inputs if step.resolved_by_step_key in _dependency_keys(each)]
    return bool(tied) and all(
        isinstance(each, UnresolvedMappedStepInput) and isinstance(each.source, FromPendingDynamicStepOutput)
        for each in tied
    )


def _dependency_keys(step_input: Any) -> set[str]:
    """Return the steps that *step_input* of an unresolved mapped step depends on."""
    if isinstance(step_input, UnresolvedMappedStepInput):
        return {handle.step_key for handle in step_input.get_step_output_handle_deps_with_placeholders()}
    return set(step_input.dependency_keys)
