"""Resources that fan-out assets take: the pool that their units run in."""

import threading
from typing import Any, Literal

import dagster as dg
from pydantic import Field, PrivateAttr

from project_fanout.engine.calls import UnitPool
from project_fanout.engine.pool import InlinePool
from project_fanout.engine.process_pool import ProcessPool
from project_fanout.engine.tally import Tally

#: Under this key fan-out assets look for their pool; without a resource of that name they make their own.
UNIT_POOL = "unit_pool"


class UnitPoolResource(dg.ConfigurableResource):  # type: ignore[type-arg]  # its value is the resource itself
    """The pool that all fan-out assets of a run share, under the resource key `unit_pool`.

    Its workers start with the first unit and end with the run. Under `multiprocess_executor` each
    step is a process and has a pool of its own, because processes cannot share one.
    """

    kind: Literal["process", "inline"] = Field(
        default="process",
        description="process: units run in worker processes. inline: in the thread of their step.",
    )
    max_workers: int | None = Field(
        default=None,
        ge=1,
        description="Worker processes, 1 or more. Default: the CPUs that this process may use.",
    )
    memory_limit_mb: int | None = Field(
        default=None,
        ge=1,
        description="MiB of memory that one worker may use; a unit that wants more fails. Default: no limit.",
    )

    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _pool: UnitPool | None = PrivateAttr(default=None)
    _tallies: dict[str, Tally] = PrivateAttr(default_factory=dict)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002  # Dagster's signature
        """Begin a run: no pool yet, all counts at zero."""
        self._lock = threading.Lock()
        self._pool = None
        self._tallies = {}

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002  # see above
        """End a run: no worker is left."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    @property
    def pool(self) -> UnitPool:
        """The pool of this run; made when it is first asked for."""
        with self._lock:
            if self._pool is None:
                self._pool = self._make()
            return self._pool

    def tally(self, asset: str) -> Tally:
        """The running counts of *asset* in this run."""
        with self._lock:
            return self._tallies.setdefault(asset, Tally())

    def _make(self) -> UnitPool:
        if self.kind == "inline":
            return InlinePool()
        return ProcessPool(self.max_workers, memory_limit_mb=self.memory_limit_mb)
