"""Kill process trees; run as a script, kill a pool's workers when the pool's process has died.

The script reads "+pid" and "-pid" lines from its standard input: the workers that live. When the input
ends or its parent is gone, it kills them all. It runs as a file of its own, without site-packages, in
10 MB: keep its imports to these. PR_SET_PDEATHSIG would not do: it acts when the *thread* that started
the worker ends.
"""

import os
import select
import signal
import sys
from collections.abc import Callable, Iterable

# How often the script makes sure that its parent lives: another process that was forked off the parent
# may hold the other end of its input.
_LOOK_EVERY_S = 1.0


def kill_trees(leaders: Iterable[int]) -> None:
    """Kill the process groups led by *leaders* and, where /proc tells of them, descendants that left them."""
    groups = set(leaders)
    strays = descendants(groups)
    for leader in groups:
        _kill(os.killpg, leader)
    for pid in strays:
        _kill(os.kill, pid)


def descendants(ancestors: set[int]) -> set[int]:
    """Return the ids of all processes below *ancestors*, none where there is no /proc."""
    children: dict[int, list[int]] = {}
    try:
        names = os.listdir("/proc")  # few imports: see above
    except OSError:
        return set()
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:  # see above
                # The name in brackets may hold spaces and brackets; the parent is the 2nd field after it.
                parent = int(stat.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(int(name))
    found: set[int] = set()
    to_visit = list(ancestors)
    while to_visit:
        below = [pid for pid in children.get(to_visit.pop(), ()) if pid not in found]
        found.update(below)
        to_visit.extend(below)
    return found


def _kill(kill: Callable[[int, int], None], pid: int) -> None:
    try:
        kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def watch(parent: int) -> None:
    """Read the workers from standard input and kill them when it ends or *parent* is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    workers: set[int] = set()
    unread = b""
    while os.getppid() == parent:
        if not select.select([0], [], [], _LOOK_EVERY_S)[0]:
            continue
        data = os.read(0, 1 << 16)
        if not data:
            break
        *lines, unread = (unread + data).split(b"\n")
        for line in lines:
            (workers.add if line.startswith(b"+") else workers.discard)(int(line[1:]))
    kill_trees(workers)


if __name__ == "__main__":
    watch(int(sys.argv[2]))
