"""What holds for every test."""

import os
import random
import shutil
import signal
import tempfile
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import Phase, settings

from project_fanout_tests.kept import keep_what_is_made_anew
from project_fanout_tests.nightly import NIGHTLY, is_for_a_commit
from project_fanout_tests.object_store import bucket, s3_server
from project_fanout_tests.postgres import postgres_server, postgres_url
from project_fanout_tests.quick import QUICK, Guard, is_quick
from project_fanout_tests.schedule import Scheduling, rank

__all__ = ["bucket", "postgres_server", "postgres_url", "s3_server"]  # fixtures for every test


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As behind a shell script's `&`. Dagster then ignores SIGTERM too as soon as it is imported, both would
    # be ignored in every process that a test starts, and none of them could be ended as a user does it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# A step waits for SQLite's fsync more than it works, and no test pulls the plug: temporary files are in memory,
# where there is room for them. In a container that is often 64 MB.
MEMORY = "/dev/shm"  # noqa: S108  # as safe as /tmp
if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 << 30:
    os.environ.setdefault("RAY_TMPDIR", tempfile.gettempdir())  # Ray never removes the logs of a session
    os.environ["TMPDIR"] = tempfile.tempdir = MEMORY


# Looking for a smaller example of a failure can take five minutes. CI judges a commit, not the luck of the draw.
settings.register_profile("project", phases=[phase for phase in Phase if phase is not Phase.shrink])
settings.register_profile("ci", settings.get_profile("project"), derandomize=True)
settings.register_profile("nightly", settings.get_profile("project"), max_examples=1_000, print_blob=True)
settings.load_profile("nightly" if NIGHTLY else "ci" if os.environ.get("CI") == "true" else "project")


if not NIGHTLY:
    keep_what_is_made_anew()


@pytest.fixture
def rng() -> random.Random:
    """Random numbers for a test; where it fails, their seed is in what it has printed."""
    seed = int(os.environ.get("FANOUT_TESTS_SEED") or random.SystemRandom().getrandbits(32))
    print(f"FANOUT_TESTS_SEED={seed} draws the same random numbers again")
    return random.Random(seed)


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


def pytest_configure(config: pytest.Config) -> None:
    """In a quick run, see to it that no test starts a process."""
    if QUICK:
        config.pluginmanager.register(Guard())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse a test without a docstring, which says what it promises a user; begin with the longest."""
    silent = [item.nodeid for item in items if not (getattr(item, "function", item).__doc__ or "").strip()]
    if silent:
        raise pytest.UsageError(f"no docstring says what these tests promise: {', '.join(silent)}")
    others = [item for item in items if not is_for_a_commit(item.nodeid) or (QUICK and not is_quick(item))]
    if others:
        left_out = set(others)
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=others)
    items.sort(key=lambda item: rank(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whatever `--dist` says, keep together what shares a fixture, and keep the order."""
    config.option.loadscopereorder = False
    return Scheduling(config, log)
