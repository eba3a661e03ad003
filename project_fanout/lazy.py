"""Names that a package hands out without importing what they are in until they are asked for."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the module-level `__getattr__` (PEP 562) of *package*.

    A pool worker imports a package with each stage in it, and would with it import Dagster or SQLAlchemy.

    Args:
        package: its `__name__`.
        modules: by name, the module that it is in.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(modules[name]), name)

    return get
