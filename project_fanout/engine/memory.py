"""The runner's memory, kept in a ledger: what makes a resumed run skip the units that have succeeded."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from project_fanout.engine.ledger import InWork, Ledger, LedgerEntry, LedgerScope, Taken
from project_fanout.engine.ledger.where import UnitKey
from project_fanout.engine.model import UnitOutcome
from project_fanout.engine.policy import Reuse
from project_fanout.engine.runner import StageRun
from project_fanout.engine.task import Task
from project_fanout.engine.values import beginning


@dataclass(frozen=True, slots=True)
class LedgerMemory:
    """Remembers outcomes in *ledger* and recalls successes of the same stage, unit key, payload and params.

    Args:
        ledger: where.
        scope: the lineage, asset and partition of this run.
        run_id: this run.
        code_version: the asset's code version, "" without one; matters for *reuse* "always" alone.
        reuse: whose successes to recall; see `FanoutPolicy.reuse`.
        retried: stage, record and unit of those without success that are run again; what an earlier run of the lineage
            has made of others stands. None for all.
        input_chars: so many characters of a unit's payload are kept with its outcome, for people to read.
    """

    ledger: Ledger
    scope: LedgerScope
    run_id: str
    code_version: str
    reuse: Reuse
    retried: Callable[[], AbstractSet[UnitKey]] | None = None
    input_chars: int = 0

    def recall(self, run: StageRun, tasks: Sequence[Task]) -> Iterator[tuple[Task, UnitOutcome]]:
        """Return those of *tasks* that need not run, and how they ended.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        # A stage with an account of its own of what it has done, as of mail that has been sent, has to run to give it,
        # whatever its runs have died of.
        if self._is_resumed and run.stage.reusable:
            died = self.ledger.died(self.scope, run.index, self.run_id)
            for task in tasks:
                task.died = died(task.record_key, task.unit.key)
        found: list[tuple[Task, LedgerEntry | None]]
        if not run.stage.reusable:
            found = []
        elif self.reuse == "lineage":
            by_unit = self.ledger.successes(self.scope, run.index, {task.record_key for task in tasks})
            found = [(task, by_unit.get((task.record_key, task.unit.key))) for task in tasks]
        elif self.reuse == "always":
            by_fingerprint = self.ledger.successes_anywhere(
                self.scope.asset,
                run.index,
                {task.fingerprint for task in tasks},
                code_version=self.code_version,
                partition=self.scope.partition,
            )
            found = [(task, by_fingerprint.get(task.fingerprint)) for task in tasks]
        else:
            found = []
        if self.retried is not None and run.stage.reusable:
            found = list(self._standing(run, found, self.retried()))
        taken: Counter[tuple[str, str, str]] = Counter()
        for task, entry in found:
            # A stage that another followed then, and none follows now, has to say so as if it ran.
            if entry is None or (run.is_last and entry.outcome.fanout is not None):
                continue
            is_there = all(value.is_there for value in entry.outcome.stored)
            if entry.fingerprint == task.fingerprint and is_there and run.stage.may_reuse(entry.outcome):
                if entry.scope.lineage != self.scope.lineage:
                    taken[task.record_key, entry.scope.lineage, entry.run_id] += 1
                # The same unit may have been another record's then.
                yield task, replace(entry.outcome, record_key=task.record_key, stage=run.stage.name)
        if taken:
            self.ledger.note_reuse(
                self.scope, run.index, [Taken(*whose, units) for whose, units in taken.items()]
            )

    def _standing(
        self,
        run: StageRun,
        found: Sequence[tuple[Task, LedgerEntry | None]],
        retried: AbstractSet[UnitKey],
    ) -> Iterator[tuple[Task, LedgerEntry | None]]:
        """Yield what was *found*, with the failures that stand in the place of nothing."""
        lost = self.ledger.failures(
            self.scope, run.index, {task.record_key for task, entry in found if entry is None}
        )
        for task, entry in found:
            unit = (task.record_key, task.unit.key)
            is_lost = entry is None and (run.index, *unit) not in retried
            yield task, lost.get(unit) if is_lost else entry

    def begin(self, run: StageRun, task: Task) -> None:
        """Have the ledger note that a unit is about to be in work, if a run that dies of it is to be known for that.

        Raises:
            LedgerError: it cannot be written.
        """
        if not run.stage.reusable:
            return
        unit = InWork(self.scope, self.run_id, run.index, task.record_key, task.unit.key, task.died)
        self.ledger.begin(unit, is_resumed=self._is_resumed)

    @property
    def _is_resumed(self) -> bool:
        return self.scope.lineage != self.run_id

    def remember(self, task: Task, outcome: UnitOutcome) -> None:
        """Have the ledger write how a unit ended, within some tenths of a second.

        Raises:
            LedgerError: an earlier outcome could not be written.
        """
        begins = beginning(task.unit.payload, self.input_chars) if self.input_chars else None
        entry = LedgerEntry(
            self.scope, self.run_id, self.code_version, task.fingerprint, outcome, input=begins
        )
        self.ledger.put(entry)
