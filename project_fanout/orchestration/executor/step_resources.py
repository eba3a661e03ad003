"""The resources of steps, without two new classes for each look at them."""

from collections.abc import Set as AbstractSet
from typing import Any

from project_fanout.orchestration.internals import IAttachDifferentObjectToOpContext, ScopedResourcesBuilder


class SharedResourcesBuilder(ScopedResourcesBuilder):
    """Builds what a set of resource keys gives once per run.

    Dagster makes two classes, ten times in a step. Classes are cyclic garbage: collecting them walks
    all that the run keeps, its events among it, and so makes each step dearer than the one before.
    """

    @classmethod
    def over(cls, builder: ScopedResourcesBuilder) -> "SharedResourcesBuilder":
        """Return a builder of the same resources."""
        shared = cls(builder.resource_instance_dict, builder.contains_generator)
        shared._built = {}  # a NamedTuple's subclass has no constructor of its own to set it in
        return shared

    _built: dict[frozenset[str], Any]

    def build(self, required_resource_keys: AbstractSet[str] | None) -> Any:
        keys = frozenset(required_resource_keys or ())
        if keys not in self._built:
            resources = super().build(required_resource_keys)
            # Such a resource decides at each look what the step gets.
            if any(
                isinstance(self.resource_instance_dict.get(key), IAttachDifferentObjectToOpContext)
                for key in keys
            ):
                return resources
            self._built[keys] = resources
        return self._built[keys]
