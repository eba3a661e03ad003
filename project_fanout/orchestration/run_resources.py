"""Under which keys a fan-out asset finds its pool and its ledger among a run's resources."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import dagster as dg

from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.orchestration.resources import LedgerResource, UnitPoolResource

_T = TypeVar("_T")

# One definition for all assets: a job refuses two resources of one key that are not the same object.
_DEFAULTS = {each: each().get_resource_definition() for each in (UnitPoolResource, LedgerResource)}
_OPTIONS = {UnitPoolResource: "unit_pool_key", LedgerResource: "ledger_key"}


@dataclass(frozen=True, kw_only=True)
class RunResources:
    """The resources that every fan-out asset needs.

    Args:
        unit_pool_key: key of the `UnitPoolResource`.
        ledger_key: key of the `LedgerResource`.
    """

    unit_pool_key: str = "unit_pool"
    ledger_key: str = "ledger"

    def __post_init__(self) -> None:
        for option in _OPTIONS.values():
            key = getattr(self, option)
            if not isinstance(key, str) or not key.isidentifier():
                raise FanoutDefinitionError(
                    f"{option} is {key!r}, accepted: the key of a resource, letters, digits and underscores."
                )
        if self.unit_pool_key == self.ledger_key:
            raise FanoutDefinitionError(
                f"unit_pool_key and ledger_key are both {self.ledger_key!r}, accepted: two keys, for two resources."
            )

    @property
    def _classes(self) -> dict[str, Any]:
        return {self.unit_pool_key: UnitPoolResource, self.ledger_key: LedgerResource}

    @property
    def keys(self) -> frozenset[str]:
        """The keys of both."""
        return frozenset(self._classes)

    @property
    def defaults(self) -> dict[str, dg.ResourceDefinition]:
        """What there is where a code location gives no such resources."""
        return {key: _DEFAULTS[kind] for key, kind in self._classes.items()}

    def unit_pool(self, context: Any) -> UnitPoolResource:
        """Return the pool of the run of *context*."""
        return self._found(context, self.unit_pool_key, UnitPoolResource)

    def ledger(self, context: Any) -> LedgerResource:
        """Return the ledger of the run of *context*."""
        return self._found(context, self.ledger_key, LedgerResource)

    def check(self, given: Mapping[str, dg.ResourceDefinition]) -> None:
        """Refuse resources of a code location that have one of the keys, and are something else.

        One that a function makes is known when it is made.

        Raises:
            FanoutDefinitionError: names the key, what is there, and what to write.
        """
        for key, kind in self._classes.items():
            found = getattr(given.get(key), "configurable_resource_cls", None)
            if found is not None and not issubclass(found, kind):
                raise _other(key, found, kind)

    @staticmethod
    def _found(context: Any, key: str, kind: type[_T]) -> _T:
        found = getattr(context.resources, key)
        if not isinstance(found, kind):
            raise _other(key, type(found), kind)
        return found


def _other(key: str, found: type, wanted: Any) -> FanoutDefinitionError:
    return FanoutDefinitionError(
        f"The resource {key!r} is a {found.__name__}, but fan-out assets look for their {wanted.__name__} there: "
        f"rename yours, or have them look elsewhere with {_OPTIONS[wanted]}= of the asset."
    )
