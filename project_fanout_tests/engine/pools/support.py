"""Calls for the pool tests, and proofs that nothing of a pool is left."""

import json
import os
import pickle
import threading
from pathlib import Path
from typing import Any

from project_fanout.engine.pools.calls import UnitCall

STAGES = "project_fanout_tests.engine.pools.stages"


def make_call(stage: str, payload: Any = None, *, key: str = "u1", **settings: Any) -> UnitCall:
    """Return a call of a stage in `pool_stages`, or of "module:function"."""
    params = pickle.dumps(settings.pop("params", {}))
    name = stage if ":" in stage else f"{STAGES}:{stage}"
    return UnitCall(name, "r1", key, json.dumps(payload), params, **settings)


def lives(pid: int) -> bool:
    """Tell whether process *pid* exists and is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def child_pids(of: int | None = None) -> set[int]:
    """Return all child processes of process *of*, by default this one, zombies included."""
    found: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == (of or os.getpid()):
            found.add(int(stat.parent.name))
    return found


class NothingLeft:
    """Note what exists now; fail if more exists at the end."""

    def __init__(self) -> None:
        self._children = child_pids()
        self._threads = set(threading.enumerate())
        self._files = len(list(Path("/proc/self/fd").iterdir()))

    def new_threads(self) -> set[threading.Thread]:
        return set(threading.enumerate()) - self._threads

    def check(self) -> None:
        """Fail if a process, a thread or an open file is left."""
        assert child_pids() - self._children == set()
        assert self.new_threads() == set()
        assert len(list(Path("/proc/self/fd").iterdir())) <= self._files
