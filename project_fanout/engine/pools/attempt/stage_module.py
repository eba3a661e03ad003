"""`imported`: a stage's module, from the file that the run itself has loaded."""

import filecmp
import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType

# Modules whose file has been compared, with their import roots: once is enough.
_compared: set[tuple[str, str]] = set()
# Import roots that were not on `sys.path` when this process began.
_added: set[str] = set()


def imported(name: str, import_root: str = "") -> ModuleType:
    """Import the module *name*.

    Args:
        name: of the module.
        import_root: the folder that the run has it from, "" if that is not known. Where `sys.path` leads to another
            module of that name, or to none, this folder comes first while it is imported, as it did when Dagster
            loaded the code location.

    Raises:
        ImportError: there is no such module, or this process has another one of that name already.
    """
    if not import_root or (name, import_root) in _compared:
        return importlib.import_module(name)
    try:
        is_on_path = import_root not in _added and _is_found_in(import_root, name.partition(".")[0])
        if name in sys.modules or is_on_path:
            module = importlib.import_module(name)
        else:
            module = _imported_from(import_root, name)
    except ModuleNotFoundError as error:
        if error.name is not None and name.startswith(error.name):
            _refuse_another(import_root, name.partition(".")[0])
        raise
    _refuse_another(import_root, name)
    _compared.add((name, import_root))
    return module


def _is_found_in(import_root: str, top: str) -> bool:
    """Tell whether an import of *top* leads to that folder, or to what has no file."""
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return False
    if found is None:
        return False
    wanted = _spec_in(import_root, top)
    if wanted is None:
        return True  # the folder is another machine's, or is laid out in another way
    if wanted.origin is None or found.origin is None:
        portions = [list(spec.submodule_search_locations or [])[:1] for spec in (wanted, found)]
        return portions[0] == portions[1]
    return _is_same_file(wanted.origin, found.origin)


def _imported_from(import_root: str, name: str) -> ModuleType:
    sys.path.insert(0, import_root)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(import_root)
        # For what it imports later; last, so that nothing else changes.
        if import_root not in sys.path:
            _added.add(import_root)
            sys.path.append(import_root)


def _refuse_another(import_root: str, name: str) -> None:
    """Refuse a module whose file is not, and does not hold the same as, the one in *import_root*."""
    wanted = _spec_in(import_root, name)
    found = getattr(sys.modules.get(name), "__file__", None)
    if wanted is None or wanted.origin is None or found is None:
        return
    if _is_same_file(wanted.origin, found):
        return
    # A copy of the code, as Ray makes one for its workers.
    with suppress(OSError):
        if filecmp.cmp(wanted.origin, found, shallow=False):
            return
    raise ImportError(
        f"The run has the module {name!r} from {wanted.origin}, but this worker has imported {found} under that name. "
        "Give one of them another name, e.g. by moving yours into a package.",
        name=name,
        path=found,
    )


def _spec_in(import_root: str, name: str) -> importlib.machinery.ModuleSpec | None:
    """Return what the module is in that folder, None if it is not there; imports nothing."""
    path: Sequence[str] = [import_root]
    spec, done = None, ""
    for part in name.split("."):
        done = f"{done}.{part}" if done else part
        spec = importlib.machinery.PathFinder.find_spec(done, list(path))
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or [])
    return spec


def _is_same_file(one: str, other: str) -> bool:
    with suppress(OSError):
        return os.path.samefile(one, other)
    return one == other
