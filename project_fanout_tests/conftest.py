"""What holds for every test."""

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import Phase, settings

from project_fanout_tests.object_store import bucket, s3_server
from project_fanout_tests.postgres import postgres_server, postgres_url

__all__ = ["bucket", "postgres_server", "postgres_url", "s3_server"]  # fixtures for every test


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As behind a shell script's `&`. Dagster then ignores SIGTERM too as soon as it is imported, both would
    # be ignored in every process that a test starts, and none of them could be ended as a user does it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Looking for a smaller example of a failure can take five minutes. CI judges a commit, not the luck of the draw.
settings.register_profile("project", phases=[phase for phase in Phase if phase is not Phase.shrink])
settings.register_profile("ci", settings.get_profile("project"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "project")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI=true a skipped test is a failed one: what it needs is missing, and nothing may be skipped."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and with CI=true nothing may be: {report.longrepr}"
    return report


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test without a docstring, which says what it promises a user; keep together what shares a fixture."""
    silent = [item.nodeid for item in items if not (getattr(item, "function", item).__doc__ or "").strip()]
    if silent:
        raise pytest.UsageError(f"no docstring says what these tests promise: {', '.join(silent)}")
    for item in items:
        # One `dagster dev` serves all of e2e; elsewhere fixtures are shared within a file at most.
        shares = "e2e" if item.path.parent.name == "e2e" else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(shares))
