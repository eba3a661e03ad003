"""Whether the ledger of a run knows what earlier runs of its lineage have computed; the log says where it does not."""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import dagster as dg

from project_fanout.engine.ledger import LEDGER_URL, LedgerScope
from project_fanout.engine.memory import LedgerMemory
from project_fanout.engine.model import UnitOutcome
from project_fanout.engine.runner import StageRun
from project_fanout.engine.task import Task
from project_fanout.orchestration.internals import DagsterEvent, EngineEventData
from project_fanout.orchestration.resources import LedgerResource


@dataclass(frozen=True, slots=True)
class LineageMemory:
    """A runner's memory that notices when what an earlier run has computed is in another ledger, or in none.

    The first success of an asset leaves a mark in the event log of its run, once the ledger has it on disk. A later
    run of the lineage that recalls nothing looks for such marks, and warns if its ledger holds no outcome at all:
    once for each asset in each process, and no longer once a unit of this run has succeeded.

    Args:
        memory: keeps the outcomes; None in a run without a ledger.
        reusable: whether outcomes of the stage are reused at all.
        scope: the lineage, asset and partition of this run.
        resource: the ledger of this run.
        done: what the resource has done once; looked at for each unit.
        context: of the step.
    """

    memory: LedgerMemory | None
    reusable: bool
    scope: LedgerScope
    resource: LedgerResource
    done: AbstractSet[str]
    context: dg.OpExecutionContext

    def recall(self, run: StageRun, tasks: Sequence[Task]) -> Iterable[tuple[Task, UnitOutcome]]:
        """Return those of *tasks* that need not run, and how they ended.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        known = [] if self.memory is None else list(self.memory.recall(run, tasks))
        could_recall = tasks and self.reusable and run.policy.reuse != "never"
        if could_recall and not known:
            # No other step goes on meanwhile: a unit of it that succeeded would look like another process's.
            self.resource.once(f"recall {self.scope.asset}", self._warn_of_loss)
        return known

    def begin(self, run: StageRun, task: Task) -> None:
        """Have the ledger note that a unit is about to be in work.

        Raises:
            LedgerError: it cannot be written.
        """
        if self.memory is not None:
            self.memory.begin(run, task)

    def remember(self, task: Task, outcome: UnitOutcome) -> None:
        """Have the ledger write how a unit ended, within some tenths of a second.

        Raises:
            LedgerError: an outcome could not be written.
        """
        if self.memory is not None:
            self.memory.remember(task, outcome)
        if self.reusable and outcome.succeeded and (what := f"success {self.scope.asset}") not in self.done:
            self.resource.once(what, self._mark)

    def _mark(self) -> None:
        if self._is_marked():
            return  # by the process of another step
        ledger = self.resource.ledger
        if ledger is None:
            message = f"Units of {self.scope.asset} have succeeded. No ledger keeps their outcomes."
        else:
            ledger.flush()  # a run that is killed now has left what the mark says
            message = f"The outcomes of the units of {self.scope.asset} are kept in {ledger.name}."
        data = EngineEventData(
            {
                _ASSET: self.scope.asset,
                "partition": self.scope.partition,
                "ledger": "" if ledger is None else ledger.name,
            }
        )
        DagsterEvent.engine_event(self.context.get_step_execution_context(), message, data)

    def _is_marked(self) -> bool:
        return next(self._marks(self.context.run_id), None) is not None

    def _marks(self, run_id: str) -> Iterator[str]:
        """Yield the name of each ledger that *run_id* has kept outcomes of this scope in, "" for none."""
        for entry in self.context.instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            data: Any = entry.get_dagster_event().event_specific_data
            found = {key: value.value for key, value in data.metadata.items()} if data else {}
            if (found.get(_ASSET), found.get("partition")) == (self.scope.asset, self.scope.partition):
                yield str(found["ledger"])

    def _warn_of_loss(self) -> None:
        ledger = self.resource.ledger
        if self.context.run.parent_run_id is None or (ledger is not None and ledger.knows(self.scope)):
            return
        if self._is_marked():
            return  # the process of an earlier step has said it
        for run in self._earlier_runs():
            for kept_in in self._marks(run.run_id):
                own = None if ledger is None else ledger.name
                self.context.log.warning(_loss(self.scope.asset, run.run_id, kept_in or None, own))
                return

    def _earlier_runs(self) -> Iterator[dg.DagsterRun]:
        run: dg.DagsterRun | None = self.context.run
        while run and run.parent_run_id:
            run = self.context.instance.get_run_by_id(run.parent_run_id)
            if run:
                yield run


#: Marks an event of the log, by naming the asset.
_ASSET = "fan-out asset"


def _loss(asset: str, earlier_run: str, kept_in: str | None, own: str | None) -> str:
    """Return the warning of a run whose ledger is *own*, and the earlier one's *kept_in*; None is no ledger."""
    if kept_in is None:
        kept = f"Run {earlier_run} has computed units of {asset} and had no ledger to keep their outcomes in"
    else:
        kept = f"Run {earlier_run} has kept outcomes of {asset} in the ledger {kept_in}"
    if own is None:
        known = "this run has no ledger"
    elif own == kept_in:
        known = (
            "the ledger of that name holds none of them now: it has been pruned or replaced, or that run was on "
            "another machine or in another container"
        )
    else:
        known = f"this run's ledger, {own}, holds none of them"
    return (
        f"{kept}; {known}. So the units that this run comes to are computed again. All runs that are to reuse each "
        f"other's outcomes need the same ledger: set LedgerResource(url=...) or the environment variable {LEDGER_URL} "
        "for all of them, to a PostgreSQL database or to a file in a folder that all of them reach."
    )
