"""The process of a step under Dagster's multiprocess executor."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait

from project_fanout.orchestration.internals import _execute_command_in_child_process

_begun = False


def end_with_the_run() -> None:
    """See to it that this process, if a run has started it for one step, is killed with that run's process.

    Dagster lets such a step go on: its workers would compute beside those of the run that takes over. A
    run's own process is not touched, though a code server has started it: it may outlive that.
    """
    global _begun
    parent = multiprocessing.parent_process()
    target = getattr(multiprocessing.current_process(), "_target", None)
    if parent is None or target is not _execute_command_in_child_process or _begun:
        return
    _begun = True
    threading.Thread(
        target=_end_with, args=(parent.sentinel,), name="project_fanout end", daemon=True
    ).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    # The guard of the pool, which notices, kills the workers.
    os.kill(os.getpid(), signal.SIGKILL)
