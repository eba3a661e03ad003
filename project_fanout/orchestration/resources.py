"""Resources that fan-out assets take: the pool that their units run in, and the ledger of their outcomes."""

import os
import threading
from collections.abc import Callable
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import PrivateAttr

from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.engine.ledger import LEDGER_URL, Ledger, default_ledger_url
from project_fanout.engine.pools.calls import UnitPool
from project_fanout.engine.pools.inline import InlinePool
from project_fanout.engine.pools.process.pool import ProcessPool
from project_fanout.engine.pools.ray import RayPool
from project_fanout.engine.pools.settings import MaxWorkers, MemoryLimit, Niceness, RayAddress
from project_fanout.engine.settings import Bounds
from project_fanout.engine.tally import Tally
from project_fanout.orchestration.settings import DeclaredResource
from project_fanout.orchestration.step_process import end_with_the_run

#: Under this key fan-out assets look for their pool; without a resource of that name those of a run share a default.
UNIT_POOL = "unit_pool"
#: Likewise for their ledger.
LEDGER = "ledger"


class UnitPoolResource(DeclaredResource):
    """The pool that all fan-out assets of a run share, under the resource key `unit_pool`.

    Its workers start with the first unit and end with the run. Under `multiprocess_executor` each
    step is a process and has a pool of its own, because processes cannot share one.
    """

    kind: Annotated[
        Literal["process", "inline", "ray"],
        "process: units run in worker processes. inline: in the thread of their step. ray: on a Ray cluster "
        "(pip install 'project_fanout[ray]').",
    ] = "process"
    max_workers: MaxWorkers = None
    memory_limit_mb: MemoryLimit = None
    niceness: Niceness = None
    ray_address: RayAddress = None

    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _pool: UnitPool | None = PrivateAttr(default=None)
    _tallies: dict[str, Tally] = PrivateAttr(default_factory=dict)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002  # Dagster's signature
        """Begin a run: no pool yet, all counts at zero."""
        end_with_the_run()
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
        for field, kind in (("memory_limit_mb", "process"), ("niceness", "process"), ("ray_address", "ray")):
            value = getattr(self, field)
            if value is not None and self.kind != kind:
                raise FanoutDefinitionError(
                    f"UnitPoolResource: {field} is {value!r}, but kind is {self.kind!r}, which has no use for "
                    f"it: leave it out, or set kind to {kind!r}."
                )
        if self.kind == "inline":
            return InlinePool()
        if self.kind == "ray":
            return RayPool(self.max_workers, address=self.ray_address)
        return ProcessPool(self.max_workers, memory_limit_mb=self.memory_limit_mb, niceness=self.niceness)


class LedgerResource(DeclaredResource):
    """The ledger of unit outcomes, under the resource key `ledger`.

    It is in `fanout_ledger.db` in the home of the Dagster instance unless a URL says otherwise. An
    ephemeral instance (`materialize`, `materialize_to_memory` without one) has no home, and its runs
    cannot be resumed: there is no ledger then, unless a URL is given.
    """

    url: Annotated[
        str | None,
        "File or SQLAlchemy URL, e.g. postgresql://user@host/database. Default: FANOUT_LEDGER_URL, else "
        "fanout_ledger.db in the home of the Dagster instance.",
    ] = None
    enabled: Annotated[
        bool, "Whether outcomes are kept. Without them a killed run starts all over again."
    ] = True
    lock_timeout_s: Annotated[
        float,
        "Seconds to wait while another process keeps the ledger locked; then the run fails.",
        Bounds(gt=0),
    ] = Ledger.lock_timeout_s

    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _ledger: Ledger | None = PrivateAttr(default=None)
    _where: str | None = PrivateAttr(default=None)
    _once: Any = PrivateAttr(default_factory=threading.Lock)
    _done: set[str] = PrivateAttr(default_factory=set)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Find out where the ledger is; the first step that needs it opens it."""
        self._lock = threading.Lock()
        self._ledger = None
        self._once = threading.Lock()
        self._done = set()
        self._where = self._find(context.instance) if self.enabled else None

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002  # see above
        """Write what has not been written yet, and close the ledger."""
        with self._lock:
            ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.close()

    @property
    def ledger(self) -> Ledger | None:
        """The ledger of this run, None if there is none.

        Raises:
            LedgerError: it cannot be opened.
        """
        with self._lock:
            if self._ledger is None and self._where is not None:
                self._ledger = Ledger(self._where, lock_timeout_s=self.lock_timeout_s)
            return self._ledger

    def open(self) -> None:
        """Open the ledger now, so that one that cannot be used fails the run before its first unit.

        Raises:
            LedgerError: it cannot be opened or written.
        """
        _ = self.ledger

    def once(self, what: str, action: Callable[[], None]) -> None:
        """Call *action* if this is the first call with *what* in this run and process; others wait for its end."""
        if what in self._done:
            return
        with self._once:
            if what not in self._done:
                action()
                self._done.add(what)

    def _find(self, instance: dg.DagsterInstance | None) -> str | None:
        if self.url is not None:
            return self.url
        if instance is None or instance.is_ephemeral:
            return os.environ.get(LEDGER_URL)
        return default_ledger_url(home=instance.root_directory)
