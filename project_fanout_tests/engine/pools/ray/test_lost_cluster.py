"""A Ray cluster that goes away fails the run and no unit, and the resumed run runs only what is missing."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from project_fanout.engine.ledger import Ledger, LedgerFilter
from project_fanout_tests.engine.pools.ray import counted_jobs
from project_fanout_tests.engine.pools.ray.clusters import ENVIRONMENT, TwoNodes
from project_fanout_tests.engine.pools.ray.counted_work import HALF, RECORDS, UNITS, lines
from project_fanout_tests.waiting import wait_until

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install '.[ray]'"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    """One cluster for all tests, which start and kill it: each start takes seconds."""
    cluster = TwoNodes()
    yield cluster
    cluster.close()


@dataclass
class Place:
    """Where the runs of one asset leave what they leave behind."""

    path: Path
    address: str
    workers: int = 1
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True)
        (self.home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")

    @property
    def home(self) -> Path:
        return self.path / "home"

    def start(self) -> None:
        """Start a run, or the re-execution of the failed one, in a process of its own."""
        arguments = [str(self.home), self.address, str(self.workers), str(self.path)]
        with (self.path / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", counted_jobs.__name__, *arguments],
                stdout=output,
                stderr=output,
                env={**os.environ, **ENVIRONMENT, "DAGSTER_HOME": str(self.home)},
            )

    def end(self) -> dg.DagsterRun:
        """Wait until the process has ended by itself and in good order, and return its run."""
        assert self.process is not None
        assert self.process.wait(240) == 0, self.output()
        with self.instance() as instance:
            return instance.get_runs()[0]

    def output(self) -> str:
        return (self.path / "output").read_text()[-6000:]

    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self.home))

    def half_is_kept(self) -> bool:
        """Tell whether half of the units ended more than 1 s ago, so that they are kept, and the next is at work."""
        if self.process is None or self.process.poll() is not None:
            pytest.fail(f"The run has ended too early: {self.output()}")
        ended = self.path / "ended"
        return (
            lines(ended).total() >= HALF
            and ended.stat().st_mtime < time.time() - 1
            and lines(self.path / "begun").total() == lines(ended).total() + self.workers
        )

    def kept(self) -> dict[str, str]:
        """Return the status of each unit that the ledger knows."""
        with Ledger(self.home / "fanout_ledger.db", create=False) as ledger:
            return {entry.outcome.unit_key: entry.outcome.status for entry in ledger.entries(LedgerFilter())}

    def table(self) -> pd.DataFrame:
        """Return the asset's value without what no two runs share."""
        with self.instance() as instance:
            table: pd.DataFrame = counted_jobs.definitions("").load_asset_value("squares", instance=instance)
        return table.drop(columns="seconds")


NewPlace = Callable[..., Place]


@pytest.fixture
def new_place(tmp_path: Path) -> Iterator[NewPlace]:
    """Makes places by name and address; none of their processes outlives the test."""
    places = []

    def make(name: str, address: str, workers: int = 1) -> Place:
        places.append(Place(tmp_path / name, address, workers))
        return places[-1]

    yield make
    for place in places:
        if place.process is not None:
            place.process.kill()
            place.process.wait()


def test_a_lost_cluster_fails_the_run_and_the_resume_is_complete(
    cluster: TwoNodes, new_place: NewPlace
) -> None:
    """All nodes are killed under two runs: each fails and says why, books nothing on a unit, and resumes."""
    cluster.start()
    undisturbed, client, driver = (
        new_place(name, address)
        for name, address in [
            ("undisturbed", ""),
            ("client", cluster.client_address),
            ("driver", cluster.address),
        ]
    )
    undisturbed.start()
    places = [client, driver]
    for place in places:
        (place.path / "hold").touch()
        place.start()
    for place in places:
        wait_until(place.half_is_kept, "half of the units have ended", 120)
    cluster.kill()

    before = {}
    for place in places:
        run = place.end()
        assert run.status is dg.DagsterRunStatus.FAILURE
        with place.instance() as instance:
            failures = [
                str(entry.dagster_event.step_failure_data.error)
                for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
                if entry.dagster_event
            ]
            assert instance.fetch_materializations(counted_jobs.squares.key, limit=9).records == []
        assert failures
        sentence = f"Lost the Ray cluster at {place.address}: "
        others = [
            failure for failure in failures if sentence not in failure or "re-execute the run" not in failure
        ]
        assert not others, others[0]
        before[place.address] = place.kept()
        assert set(before[place.address].values()) == {"succeeded"}
        assert HALF <= len(before[place.address]) < RECORDS * UNITS

    cluster.start()
    for place in places:
        (place.path / "hold").unlink()
        place.start()
    assert undisturbed.end().status is dg.DagsterRunStatus.SUCCESS
    for place in places:
        assert place.end().status is dg.DagsterRunStatus.SUCCESS, place.output() + cluster.logs()
        pd.testing.assert_frame_equal(place.table(), undisturbed.table())
        begun = lines(place.path / "begun")
        assert len(begun) == RECORDS * UNITS
        assert {unit for unit in before[place.address] if begun[unit] > 1} == set()


def test_a_killed_node_costs_its_unit_one_attempt(cluster: TwoNodes, new_place: NewPlace) -> None:
    """A node that dies is not the cluster: its unit runs again elsewhere, and the run goes on to its end."""
    if not cluster.runs:
        cluster.start()
    place = new_place("node", cluster.client_address, workers=2)
    (place.path / "hold").touch()
    place.start()
    wait_until(place.half_is_kept, "half of the units have ended", 120)
    cluster.kill(slice(1, None))
    (place.path / "hold").unlink()
    assert place.end().status is dg.DagsterRunStatus.SUCCESS, place.output() + cluster.logs()
    table = place.table()
    assert table["status"].eq("succeeded").all()
    assert sorted(table["attempts"]) == [1] * (RECORDS * UNITS - 1) + [2]


LOSE = """
import sys
from project_fanout.engine.errors import PoolLostError
from project_fanout.engine.pools.ray import RayPool
from project_fanout_tests.engine.pools.support import make_call
pool = RayPool(1, address=sys.argv[1])
error = pool.submit(make_call("hang", sys.argv[2], timeout_s=int(sys.argv[3]))).exception(120)
assert isinstance(error, PoolLostError), error
try:
    pool.submit(make_call("echo"))
except PoolLostError as again:
    assert str(again) == str(error)
    print(again)
pool.close()
"""


def test_a_stopped_head_is_a_lost_cluster(cluster: TwoNodes, tmp_path: Path) -> None:
    """A head that hangs ends calls, not units, even those over their deadline, and holds no process up."""
    if not cluster.runs:
        cluster.start()
    processes = []
    try:
        # The last is over its deadline long before the head is given up.
        for address, deadline in [(cluster.client_address, "600"), (cluster.address, "6")]:
            arguments = [address, str(tmp_path / deadline), deadline]
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", LOSE, *arguments],
                    stdout=subprocess.PIPE,
                    env={**os.environ, **ENVIRONMENT},
                )
            )
            wait_until((tmp_path / deadline).exists, "the unit runs", 120)
        os.kill(cluster.head_server(), signal.SIGSTOP)
        for process, address in zip(processes, [cluster.client_address, cluster.address], strict=True):
            printed = process.communicate(timeout=120)[0].decode()
            assert process.returncode == 0
            assert printed.startswith(f"Lost the Ray cluster at {address}: it has not answered for 1")
    finally:
        for process in processes:
            process.kill()
            process.communicate()
        cluster.kill()


LOSE_LOCAL = """
import os
import signal
from pathlib import Path
from project_fanout.engine.errors import PoolLostError
from project_fanout.engine.pools.ray import RayPool
from project_fanout_tests.engine.pools.support import child_pids, make_call
for program in ("gcs_server", "raylet"):
    with RayPool(1) as pool:
        assert pool.submit(make_call("echo", 1)).result(120).status == "succeeded"
        running = pool.submit(make_call("hang", program))
        [pid] = [pid for pid in child_pids() if Path(f"/proc/{pid}/comm").read_text().strip() == program]
        os.kill(pid, signal.SIGKILL)
        error = running.exception(120)
        assert isinstance(error, PoolLostError), error
        print(error)
"""


def test_a_local_ray_that_dies_is_lost_and_the_next_pool_starts_another(tmp_path: Path) -> None:
    """Ray's own processes on this machine are killed: calls end, and the same process can go on with a new pool."""
    ran = subprocess.run(
        [sys.executable, "-c", LOSE_LOCAL],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **ENVIRONMENT},
    )
    assert ran.returncode == 0, ran.stderr[-6000:]
    lost = [
        line for line in ran.stdout.splitlines() if "Lost the Ray that was started on this machine: " in line
    ]
    assert len(lost) == 2
