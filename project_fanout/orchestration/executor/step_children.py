"""The processes that steps start: what is left of them when a run has ended early."""

import os
import signal
from contextlib import suppress

from project_fanout.engine.pools.process.reaper import descendants


class StepChildren:
    """The processes below this one that have come since this was made, and are of its session.

    Those in a session of their own, as a pool's workers are, belong to somebody who ends them.
    """

    def __init__(self) -> None:
        self._before = descendants({os.getpid()})

    def end(self, number: signal.Signals) -> bool:
        """Send the signal to all of them; return whether there was any."""
        found = [pid for pid in descendants({os.getpid()}) - self._before if _is_of_our_session(pid)]
        for pid in found:
            with suppress(OSError):  # it has ended meanwhile
                os.kill(pid, number)
        return bool(found)


def _is_of_our_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == os.getsid(0)
    except OSError:
        return False
