"""A pytest plugin that puts `fanout_executor` in the place of Dagster's in-process and multiprocess executors.

It counts what `fanout_executor` has executed, prints the table at the end, and fails a session in
which that is nothing.
"""

from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.executor.multiprocess import MultiprocessExecutor

from project_fanout.orchestration.executor.executor import FanoutExecutor, default_max_concurrent
from project_fanout.orchestration.internals import ExecutionPlan, PlanOrchestrationContext

#: By folder or file of Dagster's: tests by outcome, tests in which `fanout_executor` ran, its runs and steps.
_counts: Counter[tuple[str, str]] = Counter()
_current: list[str] = []


def _place(path: Path) -> str:
    """Return the folder of a test, or its file where a folder is not run as a whole."""
    return path.name if path.parent.name in ("misc_execution_tests", "core_tests") else path.parent.name


def _execute(
    executor: InProcessExecutor | MultiprocessExecutor,
    plan_context: PlanOrchestrationContext,
    execution_plan: ExecutionPlan,
) -> Iterator[dg.DagsterEvent]:
    """Execute with `fanout_executor`, configured as *executor* is."""
    fanout = FanoutExecutor(
        max_concurrent=getattr(executor, "_max_concurrent", None) or default_max_concurrent(),
        retries=executor.retries,
        tag_concurrency_limits=getattr(executor, "_tag_concurrency_limits", None),
        step_dependency_config=executor.step_dependency_config,
    )
    place = _current[-1]
    _counts[place, "runs"] += 1
    for event in fanout.execute(plan_context, execution_plan):
        _counts[place, "steps"] += event.is_step_start
        yield event


def pytest_configure() -> None:
    """Replace the executors before any test is collected."""
    InProcessExecutor.execute = _execute  # type: ignore[method-assign, assignment]
    MultiprocessExecutor.execute = _execute  # type: ignore[method-assign, assignment]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Note whose runs come now."""
    place = _place(item.path)
    _current.append(place)
    before = _counts[place, "runs"]
    outcome = yield
    _counts[place, "tests with runs"] += _counts[place, "runs"] > before
    return outcome


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count the outcome of each test."""
    if report.when == "call" or not report.passed:
        _counts[_current[-1], report.outcome] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session in which `fanout_executor` has run nothing: it would prove nothing."""
    if session.testscollected and not sum(_column("runs")):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what has run, by folder."""
    names = ("passed", "failed", "skipped", "tests with runs", "runs", "steps")
    rows = [
        (place, *(_counts[place, name] for name in names)) for place in sorted({key[0] for key in _counts})
    ]
    rows.append(("all", *(sum(_column(name)) for name in names)))
    terminalreporter.section("executed by fanout_executor")
    for row in (("", *names), *rows):
        terminalreporter.write_line(
            f"{row[0]:24}"
            + "".join(f"{value:>{len(name) + 2}}" for name, value in zip(names, row[1:], strict=True))
        )


def _column(name: str) -> list[int]:
    return [count for (_, counted), count in _counts.items() if counted == name]
