"""Where a sandbox or an old kernel refuses files in memory, a pool works all the same."""

from pathlib import Path

import pytest

from project_fanout_tests.failing_calls import run_refused

#: Runs a unit that reads a value of 1 MB that all workers share, in a pool of processes.
CODE = """
from project_fanout.engine import ProcessPool
from project_fanout.engine.pools.supplied import SharedFile, Supplied
from project_fanout_tests.engine.pools.support import make_call
from dataclasses import replace
shared = SharedFile(b"x" * 1_000_000)
call = replace(make_call("length"), supplied=Supplied(shared=(("value", shared.value),)))
with ProcessPool(1) as pool:
    reply = pool.submit(call).result(60)
shared.close()
print(reply.status, reply.error or reply.encoded)
"""


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM", "EACCES"])
def test_files_in_memory_are_refused(error: str, tmp_path: Path) -> None:
    """Values that workers share, and what a pool knows of its workers, are in temporary files then."""
    assert run_refused("memfd_create", error, CODE, home=tmp_path) == "succeeded 1000000\n"
