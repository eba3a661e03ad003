"""What a process may use of its machine, as its container is limited."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from project_fanout.engine import available_cpus
from project_fanout.engine.container import cgroup_cpus, free_memory_mb


def test_available_cpus_follows_the_affinity() -> None:
    """Under `taskset` to one CPU a process may use one, whatever the machine has."""
    one = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{one}}})\n"
        "from project_fanout.engine import available_cpus; print(available_cpus())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert run.stdout.strip() == "1"
    assert 1 <= available_cpus() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "25000 50000"}, 0.5),
        ({"cpu.max": "rubbish"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "200000\n"}, None),
    ],
)
def test_the_quota_of_a_container_counts(tmp_path: Path, files: dict[str, str], cpus: float | None) -> None:
    """Both generations of cgroups are read; what cannot be read is no quota."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cgroup_cpus(tmp_path) == cpus


GIB = 2**30


@pytest.mark.parametrize(
    ("files", "own", "free"),
    [
        ({}, "0::/\n", None),
        ({"memory.max": "max", "memory.stat": "anon 5\n"}, "0::/\n", None),
        ({"memory.max": str(GIB), "memory.stat": f"anon {GIB // 4}\nfile {GIB // 2}\n"}, "0::/\n", 768),
        ({"memory.max": str(GIB), "memory.stat": f"anon {2 * GIB}\n"}, "0::/\n", 0),
        (
            {
                "memory.max": str(2 * GIB),
                "memory.stat": "anon 0\n",
                "a/memory.max": "max",
                "a/b/memory.max": str(GIB),
                "a/b/memory.stat": "anon 0\n",
            },
            "0::/a/b\n",
            1024,
        ),
        ({"memory.max": str(GIB), "memory.stat": "anon 0\n"}, "0::/outside/of/what/is/seen\n", 1024),
        (
            {"memory/memory.limit_in_bytes": str(2**63 - 4096), "memory/memory.stat": "rss 0\n"},
            "4:memory:/\n",
            None,
        ),
        (
            {
                "memory/memory.limit_in_bytes": str(GIB),
                "memory/memory.stat": f"rss 1\ntotal_rss {GIB // 2}\n",
            },
            "5:cpu:/\n4:memory:/\n0::/\n",
            512,
        ),
    ],
)
def test_the_memory_that_a_container_has_left(
    tmp_path: Path, files: dict[str, str], own: str, free: int | None
) -> None:
    """Of both generations of cgroups, the tightest of those around this process; cached files are not in the way."""
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text)
    (tmp_path / "own").write_text(own)
    assert free_memory_mb(tmp_path / "fs", tmp_path / "own") == free


@pytest.fixture
def enter() -> Iterator[str]:
    """Code that puts a process into a real cgroup with 700 MiB, or says that it is in one where none can be made."""
    version_1 = Path("/sys/fs/cgroup/memory")
    folder = (version_1 if version_1.is_dir() else version_1.parent) / f"fanout_test_{os.getpid()}"
    try:
        folder.mkdir()
        limit = folder / ("memory.limit_in_bytes" if version_1.is_dir() else "memory.max")
        limit.write_text(str(700 * 2**20))
    except OSError:
        yield "from project_fanout.engine.pools.process import pool; pool.free_memory_mb = lambda: 700"
    else:
        yield f"import os; open({str(folder / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))"
        folder.rmdir()


IN_CONTAINER = """
from project_fanout.engine import ProcessPool
from project_fanout_tests.engine.pools.support import make_call
with ProcessPool(2) as pool:
    calls = [make_call("want_memory", size, key=str(size)) for size in (2**31, 2**20)]
    for reply in [pool.submit(call).result(60) for call in calls]:
        print(reply.status, reply.error)
"""


def test_a_unit_that_wants_all_memory_of_its_container_costs_itself_alone(enter: str) -> None:
    """Nobody has set a limit: the kernel would end the run with all its units."""
    command = [sys.executable, "-c", f"{enter}\n{IN_CONTAINER}"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    first, second = run.stdout.splitlines()
    assert first.startswith("crashed MemoryError")
    assert "memory_limit_mb of the pool is" in first
    assert second == "succeeded None"
