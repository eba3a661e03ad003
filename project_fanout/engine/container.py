"""What this process may use of its machine: CPUs, and memory, as its container is limited."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MIB = 2**20


def available_cpus() -> int:
    """Return how many CPUs this process may use, at least 1: its affinity, capped by its cgroup's quota."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    quota = cgroup_cpus()
    return max(1, min(allowed, math.ceil(quota)) if quota else allowed)


def cgroup_cpus(root: Path = _CGROUPS) -> float | None:
    """Return the CPU quota of this container in CPUs, None without one (cgroup v2, then v1)."""
    for name in ("cpu.max", "cpu/cpu.cfs_quota_us"):
        try:
            text = (root / name).read_text().split()
            period = text[1] if name == "cpu.max" else (root / "cpu/cpu.cfs_period_us").read_text()
            quota = float(text[0])
        except (OSError, ValueError, IndexError):
            continue
        if quota > 0:
            return quota / float(period)
    return None


def free_memory_mb(root: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Return how much of the memory of this container nobody uses yet, in MiB, None without a limit.

    Where cgroups are nested the tightest counts. What is used is what cannot be given back: pages of files are not.
    """
    free = []
    for folder in _memory_folders(root, own):
        is_v2 = (folder / "memory.max").exists()
        try:
            limit = int((folder / ("memory.max" if is_v2 else "memory.limit_in_bytes")).read_text())
            counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            used = int(counts["anon"] if is_v2 else counts.get("total_rss", counts["rss"]))
        except (OSError, ValueError, KeyError):
            continue  # "max", or no such file
        if limit < _total_memory():  # without a limit, version 1 says 2^63
            free.append(max(0, limit - used) // _MIB)
    return min(free, default=None)


def _memory_folders(root: Path, own: Path) -> Iterator[Path]:
    """Yield the folders that may limit this process, from its own cgroup outwards."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "memory" if controllers else root
        folder = top / path.strip("/")
        # In a container its own cgroup is the root of what can be seen, whatever its path is outside.
        while folder != top and top in folder.parents:
            yield folder
            folder = folder.parent
        yield top


def _total_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
