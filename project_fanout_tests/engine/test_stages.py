"""What a stage function may be is decided when the asset is built, not when a worker cannot find it."""

import functools
import importlib
import math
import operator
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pandas._libs import lib

from project_fanout.engine import ProcessPool, Unit
from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.engine.params import Params
from project_fanout.engine.pools.attempt.attempt import found_by_name
from project_fanout.engine.stages import describe_stage, never_reused, reused_if
from project_fanout_tests.engine import runner_stages
from project_fanout_tests.engine.pools.support import make_call

ROOT = Path(__file__).parents[2]


def plain(unit: Unit, *, scale: float = 1.0, name: str) -> float:
    """Return a number; here for its signature."""
    return float(unit.payload) * scale


def no_params(unit, /):  # type: ignore[no-untyped-def]  # a user's function may have no types
    """Return nothing."""


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap as good decorators do."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@logged
def decorated(unit: Unit, *, factor: int = 2) -> int:
    """Return a product."""
    return int(unit.payload) * factor


def _shadowing(unit: Unit) -> int:
    return 1


shadowed = _shadowing


def _shadowing(unit: Unit) -> int:  # type: ignore[no-redef]  # the case that is tested
    return 2


def no_unit() -> None:
    """Take nothing."""


def two_units(unit: Unit, other: Unit) -> None:
    """Take two units."""


def param_by_position(unit: Unit, scale: float = 1.0) -> None:
    """Take a param that is not keyword-only."""


def only_keywords(*, unit: Unit) -> None:
    """Take the unit by keyword."""


def any_args(*units: Unit) -> None:
    """Hide what it takes."""


def any_kwargs(unit: Unit, **params: Any) -> None:
    """Hide its params."""


def one_unit(unit: Unit) -> int:
    """Take one unit at a time."""
    return 1


async def coroutine(unit: Unit) -> int:
    """Run beside others."""
    return 1


def batch(units: list[Unit[int]], *, scale: int = 1) -> list[int]:
    """Take many units at once."""
    return [unit.payload * scale for unit in units]


def generator(unit: Unit) -> Iterator[int]:
    """Return a generator, which cannot travel."""
    yield 1


async def async_generator(unit: Unit) -> AsyncIterator[int]:
    """Return an asynchronous generator, which cannot travel."""
    yield 1


def orphan(unit: Unit) -> None:
    """Claim to come from a module that there is not."""


orphan.__module__ = "no_such_module_x"


class Holder:
    """Functions of a class, and an object that can be called."""

    def method(self, unit: Unit) -> None:
        """Need an object."""

    @classmethod
    def of_class(cls, unit: Unit) -> None:
        """Need a class."""

    def __call__(self, unit: Unit) -> None:
        """Be called."""


def nested() -> Callable[..., Any]:
    """Return a function that no import can reach."""

    def inner(unit: Unit) -> None:
        pass

    return inner


@pytest.mark.parametrize(
    ("function", "params"), [(plain, ("scale", "name")), (no_params, ()), (decorated, ("factor",))]
)
def test_a_stage_is_described_by_what_a_worker_needs(
    function: Callable[..., Any], params: tuple[str, ...]
) -> None:
    """Its name, its params, and a reference under which a worker finds this very function."""
    stage = describe_stage(function)
    assert (stage.name, stage.params) == (function.__name__, params)
    assert found_by_name(stage.reference) is function


@pytest.mark.parametrize("function", [lib.is_scalar, math.sqrt, operator.neg])
def test_a_compiled_function_is_a_stage(function: Callable[..., Any]) -> None:
    """Of Cython and of C, as mypyc makes them, too: by its name, with the params that its signature tells."""
    stage = describe_stage(function)
    assert (stage.name, stage.params, stage.is_async, stage.is_batch) == (
        function.__name__,
        (),
        False,
        False,
    )
    assert found_by_name(stage.reference, stage.import_root) is function
    assert list(Params(None, [function])) == []


@pytest.mark.parametrize("mark", [never_reused, reused_if(bool)])
def test_a_compiled_function_that_takes_no_mark(mark: Callable[..., Any]) -> None:
    """What C has made cannot be marked: the message says so, and what can."""
    with pytest.raises(
        FanoutDefinitionError, match=r"sqrt.* cannot be marked.*`def stage\(unit\)` that calls it"
    ):
        mark(math.sqrt)


def test_a_compiled_function_runs() -> None:
    """In a worker process, as any other."""
    with ProcessPool(1) as pool:
        stage = describe_stage(lib.is_scalar)
        reply = pool.submit(make_call(stage.reference, import_root=stage.import_root)).result(60)
    assert (reply.error, reply.encoded) == (None, "false")


@pytest.mark.parametrize(
    "module", ["project_fanout", "project_fanout.engine", "project_fanout.orchestration"]
)
def test_windows_is_told_what_runs_there(module: str) -> None:
    """Without fcntl the import says on which systems it works, and what to do on Windows."""
    code = f"import sys; sys.modules['fcntl'] = None; import {module}"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    said = run.stderr.splitlines()[-1]
    assert said.startswith("ImportError: project_fanout runs on Linux and macOS")
    assert "WSL 2" in said and "container" in said


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda unit: None, "lambda"),
        (nested(), "nested in a function"),
        (functools.partial(plain, scale=2.0), "not a function"),
        (Holder(), "not a function"),
        (Holder().method, "not a function"),
        (Holder.of_class, "not a function"),
        (Holder.method, "2 positional parameters"),
        (Holder, "not a function"),
        (len, "not a function"),
        ([].append, "not a function"),
        (math.hypot, "does not say which parameters it takes"),
        (lib.infer_dtype, "2 positional parameters"),
        ("plain", "not a function"),
        (None, "not a function"),
        (shadowed, "holds something else"),
        (no_unit, "0 positional parameters (none)"),
        (two_units, "2 positional parameters (unit, other)"),
        (param_by_position, "2 positional parameters (unit, scale)"),
        (only_keywords, "0 positional parameters"),
        (any_args, "*units"),
        (any_kwargs, "**params"),
        (generator, "it is a generator function"),
        (async_generator, "it is an asynchronous generator function"),
        (orphan, "no_such_module_x"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_worker_could_not_call_is_refused(function: object, why: str) -> None:
    """The message says which function, why it is no stage, and how to write it."""
    with pytest.raises(FanoutDefinitionError) as error:
        describe_stage(function)
    assert why in str(error.value)
    assert "is not a stage" in str(error.value)
    assert "def stage(unit, *, param=default)" in str(error.value)


def test_a_function_of_the_script_itself_is_refused(tmp_path: Path) -> None:
    """A worker cannot import the file that was started; the message says so before any work."""
    script = tmp_path / "script.py"
    script.write_text(
        "from project_fanout.engine.stages import describe_stage\n"
        "def stage(unit):\n    return 1\n"
        "describe_stage(stage)\n"
    )
    run = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode != 0
    assert "__main__:stage is not a stage: a worker process cannot import the script itself" in run.stderr


def test_a_package_behind_a_link_is_found_under_the_links_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also once its folder is off `sys.path`, as after a code location has been loaded."""
    (package := tmp_path / "elsewhere" / "version_2").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "linked_stages.py").write_text("def stage(unit):\n    return unit.key\n")
    (location := tmp_path / "location").mkdir()
    (location / "linked_package").symlink_to(package)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(location)
        stage = describe_stage(importlib.import_module("linked_package.linked_stages").stage)
    with ProcessPool(1) as pool:
        reply = pool.submit(make_call(stage.reference, import_root=stage.import_root)).result(60)
    assert (reply.status, reply.error) == ("succeeded", None)


@pytest.mark.parametrize("name", ["split", "weigh", "mark", "level", "echo"])
def test_every_function_at_the_top_of_a_module_is_a_stage(name: str) -> None:
    """With `*, param: type = default` for its params."""
    assert describe_stage(getattr(runner_stages, name)).name == name


@pytest.mark.parametrize(
    ("function", "kind"), [(coroutine, (True, False)), (batch, (False, True)), (one_unit, (False, False))]
)
def test_the_kind_of_a_stage_is_read_from_its_definition(function: object, kind: tuple[bool, bool]) -> None:
    """`async def` is a coroutine, `units: list[Unit]` a batch, and anything else takes one unit at a time."""
    stage = describe_stage(function)
    assert (stage.is_async, stage.is_batch) == kind
