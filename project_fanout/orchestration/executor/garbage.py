"""How often Python looks for garbage while a run goes on."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# A run makes many objects that live until it ends, and few cycles: with Python's own 700 the search for those takes a
# third of the CPU time of a run of short units, with these 3 %, and 10 MB more memory.
_THRESHOLDS = (50_000, 50, 100)

_lock = threading.Lock()
_runs = 0
_before = (0, 0, 0)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Have Python look for garbage more rarely, and not among what is there already, while the block runs.

    Several runs of one process may be in theirs at once: what was there before the first is there after the last.
    """
    global _runs, _before
    with _lock:
        _runs += 1
        if _runs == 1:
            _before = gc.get_threshold()
            gc.freeze()
            if _before[0] > 0:  # 0 is for never, which is somebody's decision
                gc.set_threshold(*map(max, _THRESHOLDS, _before))
    try:
        yield
    finally:
        with _lock:
            _runs -= 1
            if _runs == 0:
                gc.set_threshold(*_before)
                gc.unfreeze()
