"""Which tests share a worker of pytest-xdist, and which begin."""

from xdist.scheduler import LoadScopeScheduling

# These take longest and come first: otherwise one worker ends with them while the other has nothing left to do.
LONGEST = (
    "e2e",
    "postgres",
    "orchestration/test_other_ledger.py",
    "orchestration/test_faults_killed_run.py",
    "campaigns/test_refusals.py",
    "orchestration/executor/test_executor_equality.py",
    "orchestration/test_intermediates_elsewhere.py",
    "orchestration/executor/test_executor_end.py",
    "engine/pools/ray/test_ray_pool.py",
    "orchestration/test_processes.py",
    "campaigns/test_kills.py",
    "campaigns/test_job_request.py",
    "campaigns/test_sending.py",
    "campaigns/test_assets.py",
    "forks/test_fork_asset.py",
    "orchestration/test_asset.py",
    "orchestration/test_fanout_runs.py",
    "test_extras.py",
    "test_resume_page.py",
    "test_readme.py",
)


def group(test: str) -> str:
    """Return what the test with this id shares with others: `dagster dev`, a PostgreSQL, or its file's fixtures."""
    file = test.partition("::")[0].removeprefix("project_fanout_tests/")
    if file.startswith("e2e/"):
        return "e2e"
    return "postgres" if "postgres" in test else file


def rank(test: str) -> int:
    """Return where a test comes in the order of all."""
    return LONGEST.index(group(test)) if group(test) in LONGEST else len(LONGEST)


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # has no types
    """Gives each group to one worker, in the order of the collection.

    The groups of xdist's own `--dist loadgroup` (3.8) are lost under pytest 9.2: every worker had a server of
    its own, and each module's fixtures were made twice.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)
