"""`memory_file`: a file without a name, in memory where the system has such files."""

import os
import tempfile
from typing import IO


def memory_file(name: str) -> IO[bytes]:
    """Return a new file that vanishes when it is closed, or with this process.

    Args:
        name: what it is for, for people who look at the files of a process.
    """
    try:
        return os.fdopen(os.memfd_create(name), "w+b")
    except (AttributeError, OSError):
        # macOS has none; old kernels and sandboxes refuse it.
        return tempfile.TemporaryFile(prefix="project_fanout_")
