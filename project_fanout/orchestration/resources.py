"""Resources that fan-out assets take: the pool that their units run in, and the ledger of their outcomes."""

import logging
import os
import tempfile
import threading
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, Literal, TypeVar

import dagster as dg
from pydantic import PrivateAttr

from project_fanout.engine.errors import FanoutDefinitionError, LedgerError
from project_fanout.engine.ledger import (
    LEDGER_URL,
    Ledger,
    LedgerScope,
    default_values_url,
    is_refused,
)
from project_fanout.engine.pools.calls import UnitPool
from project_fanout.engine.pools.inline import InlinePool
from project_fanout.engine.pools.process.pool import ProcessPool
from project_fanout.engine.pools.ray import RayPool
from project_fanout.engine.pools.settings import (
    SETUP_TIMEOUT_S,
    Gpus,
    MaxWorkers,
    MemoryLimit,
    Niceness,
    RayAddress,
    RayOptions,
    RecycleAboveMb,
    RecycleAfterUnits,
    SetupTimeout,
    ThreadsPerUnit,
    UnitsPerWorker,
)
from project_fanout.engine.pools.supplied import SharedFile, SharedValue
from project_fanout.engine.rate import Rate
from project_fanout.engine.settings import Bounds
from project_fanout.engine.tally import Tally
from project_fanout.engine.values import SPILL_BYTES, ValueStore
from project_fanout.orchestration.instance_ledger import InstanceLedger, instance_ledger
from project_fanout.orchestration.settings import DeclaredResource
from project_fanout.orchestration.step_process import end_with_the_run

_T = TypeVar("_T")
_logger = logging.getLogger(__name__)

#: Settings of pools that not every kind has a use for: those that have.
_KINDS = {
    "memory_limit_mb": ("process",),
    "niceness": ("process",),
    "ray_address": ("ray",),
    "units_per_worker": ("process", "ray"),
    "recycle_after_units": ("process",),
    "recycle_above_mb": ("process",),
    "threads_per_unit": ("process",),
    "gpus": ("process",),
    "ray_options": ("ray",),
}


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
    units_per_worker: UnitsPerWorker = None
    recycle_after_units: RecycleAfterUnits = None
    recycle_above_mb: RecycleAboveMb = None
    threads_per_unit: ThreadsPerUnit = 1
    setup_timeout_s: SetupTimeout = SETUP_TIMEOUT_S
    log_level: Annotated[
        str | None,
        "DEBUG, INFO, WARNING or ERROR: units' log records of this level and up reach the run's log, those of "
        "installed libraries from WARNING on unless it is DEBUG. Default: python_log_level of the instance, else INFO.",
    ] = None
    gpus: Gpus = None
    ray_options: RayOptions = None

    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _pool: UnitPool | None = PrivateAttr(default=None)
    _level: int = PrivateAttr(default=logging.INFO)
    _tallies: dict[str, Tally] = PrivateAttr(default_factory=dict)
    _shared: dict[str, SharedFile] = PrivateAttr(default_factory=dict)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Begin a run: no pool yet, all counts at zero."""
        end_with_the_run()
        of_instance = context.instance.python_log_level if context.instance is not None else None
        self._level = _level_number(self.log_level or of_instance or "INFO")
        self._lock = threading.Lock()
        self._pool = None
        self._tallies = {}
        self._shared = {}

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002  # see above
        """End a run: no worker is left."""
        with self._lock:
            pool, self._pool = self._pool, None
            shared, self._shared = self._shared, {}
        if pool is not None:
            pool.close()
        for file in shared.values():
            file.close()

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

    def shared(self, name: str, value: Callable[[], Any]) -> SharedValue:
        """Return what *value* returns, which is called once in this run and process, as it reaches each worker once."""
        with self._lock:
            if name not in self._shared:
                self._shared[name] = SharedFile(value())
            return self._shared[name].value

    def _make(self) -> UnitPool:
        fields = type(self).model_fields
        for field, kinds in _KINDS.items():
            value = getattr(self, field)
            if value != fields[field].default and self.kind not in kinds:
                raise FanoutDefinitionError(
                    f"UnitPoolResource: {field} is {value!r}, but kind is {self.kind!r}, which has no use for "
                    f"it: leave it out, or set kind to {kinds[0]!r}."
                )
        if self.kind == "inline":
            return InlinePool(log_level=self._level)
        if self.kind == "ray":
            return RayPool(
                self.max_workers,
                address=self.ray_address,
                log_level=self._level,
                units_per_worker=self.units_per_worker,
                setup_timeout_s=self.setup_timeout_s,
                ray_options=self.ray_options,
            )
        return ProcessPool(
            self.max_workers,
            log_level=self._level,
            memory_limit_mb=self.memory_limit_mb,
            niceness=self.niceness,
            units_per_worker=self.units_per_worker,
            recycle_after_units=self.recycle_after_units,
            recycle_above_mb=self.recycle_above_mb,
            threads_per_unit=self.threads_per_unit,
            setup_timeout_s=self.setup_timeout_s,
            gpus=self.gpus,
        )


def _level_number(name: str) -> int:
    level = logging.getLevelName(name.upper())
    if not isinstance(level, int) or level == logging.NOTSET:
        raise FanoutDefinitionError(
            f"UnitPoolResource: log_level is {name!r}, accepted: DEBUG, INFO, WARNING or ERROR."
        )
    return level


class LedgerResource(DeclaredResource):
    """The ledger of unit outcomes, under the resource key `ledger`.

    Unless a URL says otherwise it is in the database of the Dagster instance if that is PostgreSQL, which runs in
    other pods reach, too; else, and where there is one already, in `fanout_ledger.db` in its home. An ephemeral
    instance (`materialize`, `materialize_to_memory` without one) has no home, and its runs cannot be resumed: there
    is no ledger then, unless a URL is given.
    """

    url: Annotated[
        str | None,
        "File or SQLAlchemy URL, e.g. postgresql://user@host/database. Default: FANOUT_LEDGER_URL, else "
        "fanout_ledger.db in the home of the Dagster instance, or the instance's own PostgreSQL where there is no "
        "such file.",
    ] = None
    enabled: Annotated[
        bool, "Whether outcomes are kept. Without them a killed run starts all over again."
    ] = True
    lock_timeout_s: Annotated[
        float,
        "Seconds to wait while another process keeps the ledger locked; then the run fails.",
        Bounds(gt=0),
    ] = Ledger.lock_timeout_s
    values_url: Annotated[
        str | None,
        "Folder for values above spill_bytes, or a URL of fsspec such as s3://bucket/folder. Default: "
        "FANOUT_VALUES_URL, else beside the file of the ledger, else fanout_values in the home of the instance.",
    ] = None
    spill_bytes: Annotated[
        int,
        "Bytes above which a payload or result is stored once as a file and travels by reference.",
        Bounds(ge=1),
    ] = SPILL_BYTES
    input_chars: Annotated[
        int,
        "Characters of a unit's payload that are kept with its outcome, for `fanout report`; 0 keeps none.",
        Bounds(ge=0, le=1000),
    ] = 300

    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _ledger: Ledger | None = PrivateAttr(default=None)
    _where: str | None = PrivateAttr(default=None)
    _otherwise: str | None = PrivateAttr(default=None)
    _log: Any = PrivateAttr(default=None)
    _home: str | None = PrivateAttr(default=None)
    _values: str | None = PrivateAttr(default=None)
    _folder: Any = PrivateAttr(default=None)
    _is_ephemeral: bool = PrivateAttr(default=True)
    _rates: dict[tuple[str, float], Rate] = PrivateAttr(default_factory=dict)
    _once: Any = PrivateAttr(default_factory=threading.Lock)
    _done: set[str] = PrivateAttr(default_factory=set)
    _kept: dict[str, Any] = PrivateAttr(default_factory=dict)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Find out where the ledger is; the first step that needs it opens it."""
        self._lock = threading.Lock()
        self._ledger = None
        self._rates = {}
        self._once = threading.Lock()
        self._done = set()
        self._kept = {}
        instance = context.instance
        self._is_ephemeral = instance is None or instance.is_ephemeral
        self._home = None if instance is None or instance.is_ephemeral else instance.root_directory
        self._log = context.log or _logger
        place = self._find(instance) if self.enabled else None
        self._where, self._otherwise = (place.url, place.otherwise) if place else (None, None)
        if place and place.problem:
            self._log.warning(_not_in_the_database(place.problem, place.url))
        self._values = self._find_values()
        self._folder = None

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002  # see above
        """Write what has not been written yet, and close the ledger."""
        with self._lock:
            ledger, self._ledger = self._ledger, None
            folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()
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
                self._ledger = self._opened(self._where)
            return self._ledger

    def value_store(self, scope: LedgerScope) -> ValueStore | None:
        """Return where large values of *scope* go: a folder that is removed with what the ledger holds of it.

        In a run that keeps nothing and so is all in this process, it is removed with the run. None in a run of
        several processes without a ledger: there its values travel whole.

        Raises:
            LedgerError: the ledger cannot be written.
        """
        ledger = self.ledger
        if ledger is not None and self._values is not None:
            return ledger.value_store(scope, self._values, self.spill_bytes)
        if not self._is_ephemeral:
            return None
        with self._lock:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="fanout_values_")
            return ValueStore(self._folder.name, self.spill_bytes)

    def rate(self, name: str, per_second: float | None) -> Rate | None:
        """Return the rate of the asset *name*: of all runs that share the ledger, without one of this run and process.

        None if *per_second* is.

        Raises:
            LedgerError: the ledger cannot be opened.
        """
        if per_second is None:
            return None
        ledger = self.ledger
        with self._lock:
            if (name, per_second) not in self._rates:
                rate = Rate(per_second) if ledger is None else ledger.rate(name, per_second)
                self._rates[name, per_second] = rate
            return self._rates[name, per_second]

    def open(self) -> None:
        """Open the ledger now, so that one that cannot be used fails the run before its first unit.

        Raises:
            LedgerError: it cannot be opened or written.
        """
        _ = self.ledger

    @property
    def done(self) -> AbstractSet[str]:
        """What `once` has been called with."""
        return self._done

    def once(self, what: str, action: Callable[[], None]) -> None:
        """Call *action* if this is the first call with *what* in this run and process; others wait for its end."""
        if what in self._done:
            return
        with self._once:
            if what not in self._done:
                action()
                self._done.add(what)

    def kept(self, what: str, find: Callable[[], _T]) -> _T:
        """Return what *find* returned when this was first called with *what* in this run and process."""
        with self._once:
            if what not in self._kept:
                self._kept[what] = find()
            found: _T = self._kept[what]
            return found

    def _opened(self, where: str) -> Ledger:
        try:
            return Ledger(where, lock_timeout_s=self.lock_timeout_s)
        except LedgerError as error:
            if self._otherwise is None or not is_refused(error):
                raise
            # Whoever set the instance up has not asked for a ledger in its database.
            self._log.warning(_not_in_the_database(str(error), self._otherwise))
            self._where, self._otherwise = self._otherwise, None
            self._values = self._find_values()
            return Ledger(self._where, lock_timeout_s=self.lock_timeout_s)

    def _find_values(self) -> str | None:
        if self._where is None or self.values_url is not None:
            return self.values_url
        return default_values_url(self._where, home=self._home)

    def _find(self, instance: dg.DagsterInstance | None) -> InstanceLedger | None:
        if self.url is not None:
            return InstanceLedger(self.url)
        if instance is None or instance.is_ephemeral:
            url = os.environ.get(LEDGER_URL)
            return InstanceLedger(url) if url else None
        return instance_ledger(instance)


def _not_in_the_database(problem: str, file: str) -> str:
    return (
        f"The ledger is not kept in the PostgreSQL database of this Dagster instance: {problem.rstrip('.')}. It is the "
        f"file {file}, so a run in another pod or on another machine computes again what this one has. Set "
        f"LedgerResource(url=...) or the environment variable {LEDGER_URL} to a place that all runs reach."
    )
