"""A worker runs the stage that the code location has loaded, also where something installed has the same name."""

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from project_fanout.engine import InlinePool, ProcessPool
from project_fanout.engine.pools.calls import UnitCall, UnitPool
from project_fanout.engine.stages import describe_stage
from project_fanout_tests.engine.pools.support import make_call

STAGE = "from {near} import who\ndef stage(unit):\n    return who\n"
OURS = "who = 'ours'\ndef stage(unit):\n    return who\n"
THEIRS = OURS.replace("ours", "theirs")

#: Module of the stage, and the files of the code location and of what is installed.
CASES: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "an empty module": ("sm_a", {"sm_a.py": OURS}, {"sm_a.py": ""}),
    "a module with the same function": ("sm_b", {"sm_b.py": OURS}, {"sm_b.py": THEIRS}),
    "a package for a module": ("sm_c", {"sm_c.py": OURS}, {"sm_c/__init__.py": THEIRS}),
    "a module for a package": ("sm_d", {"sm_d/__init__.py": OURS}, {"sm_d.py": THEIRS}),
    "two packages": (
        "sm_e.work",
        {"sm_e/__init__.py": "", "sm_e/work.py": OURS},
        {"sm_e/__init__.py": "", "sm_e/work.py": THEIRS},
    ),
    "a package without the module": (
        "sm_f.work",
        {"sm_f/__init__.py": "", "sm_f/work.py": OURS},
        {"sm_f/__init__.py": ""},
    ),
    "folders without __init__": ("sm_g.work", {"sm_g/work.py": OURS}, {"sm_g/other.py": ""}),
    "what the stage imports": (
        "sm_h",
        {"sm_h.py": STAGE.format(near="sm_h_utils"), "sm_h_utils.py": OURS},
        {"sm_h_utils.py": THEIRS},
    ),
    "nothing": ("sm_i", {"sm_i.py": OURS}, {}),
}


@dataclass(frozen=True)
class Places:
    """Folders: the code location's, which was on `sys.path` while it was loaded, and that of installed packages."""

    location: Path
    installed: Path
    pool: ProcessPool


def written(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def loaded_stage(places: Places, module: str) -> UnitCall:
    """Load a stage as Dagster loads a code location, and return a call of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(places.location)
        stage = describe_stage(importlib.import_module(module).stage)
    return make_call(stage.reference, import_root=stage.import_root)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    folder = tmp_path_factory.mktemp("places")
    location, installed = folder / "location", folder / "installed"
    for _, ours, theirs in CASES.values():
        written(location, ours)
        written(installed, theirs)
    sys.path.append(str(installed))
    try:
        with ProcessPool(1) as pool:
            yield Places(location, installed, pool)
    finally:
        sys.path.remove(str(installed))
        for name in [name for name in sys.modules if name.startswith("sm_")]:
            del sys.modules[name]


@pytest.mark.parametrize("case", CASES)
def test_the_code_locations_own_module_runs(case: str, places: Places) -> None:
    """As in the run's own process, whatever is installed."""
    call = loaded_stage(places, CASES[case][0])
    pools: list[UnitPool] = [places.pool, InlinePool()]
    for pool in pools:
        reply = pool.submit(call).result(60)
        assert (reply.error, reply.encoded) == (None, '"ours"')


@pytest.mark.parametrize("theirs", [THEIRS, ""])
def test_a_worker_that_has_the_other_one_already(theirs: str, places: Places) -> None:
    """What another stage has imported cannot be replaced: the unit fails, and the error names both files."""
    name = f"sm_taken_{len(theirs)}"
    written(places.installed, {f"{name}.py": theirs, f"{name}_user.py": f"import {name}\n{OURS}"})
    written(places.location, {f"{name}.py": OURS})
    call = loaded_stage(places, name)
    assert places.pool.submit(make_call(f"{name}_user:stage")).result(60).error is None
    error = places.pool.submit(call).result(60).error
    assert error is not None and error.type == "ImportError"
    for folder in (places.location, places.installed):
        assert str(folder / f"{name}.py") in error.message


def test_a_copy_of_the_code_is_the_same(places: Places) -> None:
    """A worker that has the same module from another folder, as Ray's have, runs it."""
    written(places.installed, {"sm_copy.py": OURS, "sm_copy_user.py": f"import sm_copy\n{OURS}"})
    written(places.location, {"sm_copy.py": OURS})
    call = loaded_stage(places, "sm_copy")
    assert places.pool.submit(make_call("sm_copy_user:stage")).result(60).error is None
    assert places.pool.submit(call).result(60).error is None


def test_a_folder_of_another_machine(places: Places) -> None:
    """Where the run's folder is not there, what the worker finds is taken."""
    written(places.installed, {"sm_remote.py": OURS})
    reply = places.pool.submit(make_call("sm_remote:stage", import_root="/no/such/folder")).result(60)
    assert reply.error is None
