"""Taking records through their stages, within a step."""

import itertools
import logging
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Any

import dagster as dg

from project_fanout.engine.ledger import Ledger, LedgerFilter, LedgerScope, RunNews
from project_fanout.engine.ledger.where import UnitKey, chosen_units
from project_fanout.engine.memory import LedgerMemory
from project_fanout.engine.plan import PlannedStage
from project_fanout.engine.policy import FanoutPolicy
from project_fanout.engine.pools.calls import UnitLog
from project_fanout.engine.pools.supplied import Supplied
from project_fanout.engine.record_state import RecordState
from project_fanout.engine.runner import StageRun
from project_fanout.engine.stages import Stage
from project_fanout.engine.step_batches import Batch
from project_fanout.orchestration.lineage import LineageMemory
from project_fanout.orchestration.retried_run import RETRY_WHERE
from project_fanout.orchestration.run_config import RunConfig
from project_fanout.orchestration.run_resources import RunResources
from project_fanout.orchestration.unit_logs import log_line

_LIMIT = (
    "max_workers of the policy is %s, but the pool has places for no more units of %s than %s at once. Set "
    "units_per_worker of unit_pool, where units wait for others most of the time, or its max_workers, so that "
    "workers times units_per_worker is %s or more."
)
_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


@dataclass(frozen=True)
class StageSteps:
    """Takes the records of one fan-out asset through its stages, with the pool and the ledger of the run.

    Args:
        key: the asset's key.
        run_config: what the asset accepts as run config; the op config of each step is read by it.
        stages: the asset's stages; none where every record carries a plan.
        code_version: the asset's code version, "" for none.
        resources: keys of the resources whose values fill parameters of stages.
        run_resources: where pool and ledger are among a run's resources.
    """

    key: dg.AssetKey
    run_config: RunConfig
    stages: tuple[Stage, ...]
    code_version: str
    resources: tuple[str, ...]
    run_resources: RunResources

    def advance(self, context: dg.OpExecutionContext, index: int, batch: Iterable[RecordState]) -> Batch:
        """Take the records of *batch* through the stage *index*, or through their own plan in the first."""
        advanced: list[RecordState] = []
        for plan, group in itertools.groupby(batch, key=attrgetter("plan")):
            records = list(group)
            if plan is None:
                settings = self.run_config.read(context.op_config)
                stage = self.run_config.params.plan(self.stages[index], settings.params)
                is_last = index + 1 == len(self.stages)
                records = self._stage_run(context, stage, index, is_last, settings.policy).advance(records)
            elif index == 0:
                last = len(plan.stages) - 1
                for own, stage in enumerate(plan.stages):
                    run = self._stage_run(context, stage, own, own == last, plan.policy)
                    records = run.advance(records)
            advanced.extend(replace(record, run_id=context.run_id) for record in records)
        return tuple(advanced)

    def _stage_run(
        self,
        context: dg.OpExecutionContext,
        planned: PlannedStage,
        index: int,
        is_last: bool,
        policy: FanoutPolicy,
    ) -> StageRun:
        unit_pool = self.run_resources.unit_pool(context)

        def log(record: UnitLog) -> None:
            context.log.log(
                _level_of_dagster(record.level),
                "%s",
                log_line(record.record_key, record.unit_key, record.logger, record.message),
            )

        def say_progress(line: str) -> None:
            context.log.info("%s: %s", self.run_config.name, line)
            self.note_run(context)

        shared = tuple(
            (
                key,
                unit_pool.shared(f"{self.run_config.name} {key}", getattr(context.resources, key).for_units),
            )
            for key in self.resources
            if key in planned.stage.params
        )
        run = StageRun(
            stage=planned.stage,
            index=index,
            is_last=is_last,
            params=planned.params,
            params_json=planned.params_json,
            policy=policy,
            pool=unit_pool.pool,
            tally=unit_pool.tally(self.run_config.name),
            budget=self.run_config.name,
            memory=self._memory(context, planned.stage, policy),
            on_log=log,
            store=self.run_resources.ledger(context).value_store(self.scope(context)),
            supplied=Supplied(shared, planned.set_ups) if shared or planned.set_ups else None,
            on_progress=say_progress,
            rate=self.run_resources.ledger(context).rate(self.key.to_user_string(), policy.max_per_second),
        )
        wanted, most = policy.max_workers, run.most_at_once
        places = most if wanted is None else min(most, wanted)
        self.run_resources.ledger(context).once(
            f"places of {self.run_config.name} {planned.stage.name}",
            lambda: self.note_run(context, places=places),
        )
        if wanted is not None and wanted > most and unit_pool.kind != "inline":
            self.run_resources.ledger(context).once(
                f"limit of {self.run_config.name} {planned.stage.name}",
                lambda: context.log.warning(_LIMIT, wanted, planned.stage.name, most, wanted),
            )
        return run

    def note_run(self, context: dg.OpExecutionContext, **changes: Any) -> None:
        """Note in the ledger, if there is one, what has changed with the run; see `RunNews`.

        Raises:
            LedgerError: an outcome could not be written.
        """
        if (ledger := self.run_resources.ledger(context).ledger) is not None:
            stages = tuple(stage.name for stage in self.stages)
            ledger.note_run(
                RunNews(run_id=context.run_id, scope=self.scope(context), stages=stages, **changes)
            )

    def scope(self, context: dg.OpExecutionContext) -> LedgerScope:
        """Return whose outcomes and values those of this run are."""
        return LedgerScope(
            lineage=context.run.root_run_id or context.run_id,
            asset=self.key.to_user_string(),
            partition=context.partition_key if context.has_partition_key else "",
        )

    def _memory(self, context: dg.OpExecutionContext, stage: Stage, policy: FanoutPolicy) -> LineageMemory:
        resource = self.run_resources.ledger(context)
        scope = self.scope(context)
        memory = None
        if resource.ledger is not None:
            memory = LedgerMemory(
                ledger=resource.ledger,
                scope=scope,
                run_id=context.run_id,
                code_version=self.code_version,
                reuse=policy.reuse,
                retried=self._retried(context, resource.ledger, scope),
                input_chars=resource.input_chars,
            )
        return LineageMemory(memory, stage.reusable, scope, resource, resource.done, context)

    def _retried(
        self, context: dg.OpExecutionContext, ledger: Ledger, scope: LedgerScope
    ) -> Callable[[], AbstractSet[UnitKey]] | None:
        """Return what tells which units without success this run tries again, None for all."""
        if (where := context.run.tags.get(RETRY_WHERE)) is None:
            return None

        def find() -> AbstractSet[UnitKey]:
            # What this run has computed itself is no longer a failure of an earlier one.
            entries = ledger.entries(LedgerFilter(scope.lineage, scope.asset, scope.partition))
            earlier = (e for e in entries if not e.outcome.succeeded and e.run_id != context.run_id)
            return chosen_units(earlier, where)

        kept: Callable[[], AbstractSet[UnitKey]] = partial(
            self.run_resources.ledger(context).kept, f"retried {scope.asset} {scope.partition}", find
        )
        return kept


def _level_of_dagster(level: int) -> int:
    """Return the nearest level at or below *level* that Dagster has; at any other the UI shows no log at all."""
    return max((each for each in _LEVELS if each <= level), default=logging.DEBUG)
