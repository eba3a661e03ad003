"""Which tests are quick: those that start no process and are not marked slow. `make quick` runs no others."""

import _posixsubprocess
import inspect
import os
import sys
from collections.abc import Generator, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

QUICK = os.environ.get("FANOUT_TESTS") == "quick"
#: A test starts a process if one of these names or texts is in its code, in that of one of its fixtures, or in what
#: they call in the tests' own modules;
STARTS = {
    *("subprocess", "multiprocessing", "fork"),
    *("run_python", "run_pytest", "start_run", "start_job"),
    *("ProcessPool", "process", "RayPool", "ray"),  # the workers of a pool
    *("PostgresServer", "postgres", "DagsterDev", "sync_playwright"),  # servers, and a browser
    "maildir",  # mail that nobody is to get, which a process keeps
    "from_config",  # an instance with a home, where `tail` copies what steps print
}
#: or if one of these is, so that it runs a job, which has a pool,
RUNS = {"materialize", "materialize_to_memory", "execute_job", "execute_in_process"}
#: and none of these, so that the pool is the default one.
INLINE = {"INLINE", "InlinePool", "inline"}
EVENTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}


def is_quick(item: pytest.Item) -> bool:
    """Tell whether a test is quick, as far as its code says."""
    if item.get_closest_marker("slow") or not isinstance(item, pytest.Function):
        return False
    words: set[str] = set()
    if hasattr(item, "callspec"):
        words |= {getattr(value, "__name__", str(value)) for value in item.callspec.params.values()}
    fixtures = [found[-1].func for found in item._fixtureinfo.name2fixturedefs.values()]
    seen: set[object] = set()
    for function in (item.function, *fixtures):
        words.update(_words(function, seen))
    return not words & STARTS and (not words & RUNS or bool(words & INLINE))


def _words(thing: Any, seen: set[object]) -> Iterator[str]:
    """Yield the names and texts in the code of *thing* and of what it names, if that is in a module of the tests."""
    ours = getattr(thing, "__module__", None) or ""
    if not ours.startswith(__package__) or not isinstance(thing, FunctionType | type) or thing in seen:
        return
    seen.add(thing)
    if isinstance(thing, type):
        yield from (base.__name__ for base in thing.__bases__)
        for member in vars(thing).values():
            yield from _words(member, seen)
        return
    function = inspect.unwrap(thing)
    words = set(_constants(function.__code__))
    yield from words
    for name in words & set(function.__globals__):
        found = function.__globals__[name]
        yield from _words(found, seen)
        if isinstance(found, ModuleType) and found.__name__.startswith(__package__):
            for attribute in words & set(vars(found)):
                yield from _words(vars(found)[attribute], seen)


def _constants(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, CodeType):
            yield from _constants(constant)


class Guard:
    """A plugin of pytest that refuses to start a process, and fails the test that has tried it."""

    def __init__(self) -> None:
        self._tried: list[str] = []
        self._on = False
        sys.addaudithook(self._audit)
        self._fork_exec = _posixsubprocess.fork_exec
        _posixsubprocess.fork_exec = self._refuse  # which multiprocessing calls, unaudited

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in EVENTS and self._on:
            self._tried.append(f"{event}: {arguments}"[:200])
            raise RuntimeError("a quick test starts no process")

    def _refuse(self, *arguments: Any) -> int:
        self._audit("subprocess.Popen", arguments)
        return int(self._fork_exec(*arguments))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        """Refuse while a test runs: pytest-xdist starts its workers before."""
        self._on = True
        try:
            return (yield)
        finally:
            self._on = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fail the test, whatever it has made of the refusal."""
        report = yield
        if self._tried:
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} is not quick, mark it slow: it starts a process, {self._tried}"
            self._tried = []
        return report
