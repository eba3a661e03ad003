"""The runner's memory, kept in a ledger: what makes a resumed run skip the units that have succeeded."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from project_fanout.engine.job import Ended, Job
from project_fanout.engine.ledger import Ledger, LedgerEntry, LedgerScope
from project_fanout.engine.policy import Reuse
from project_fanout.engine.pools.calls import UnitReply
from project_fanout.engine.runner import StageRun


@dataclass(frozen=True, slots=True)
class LedgerMemory:
    """Remembers outcomes in *ledger* and recalls successes of the same stage, unit key, payload and params.

    Args:
        ledger: where.
        scope: the lineage, asset and partition of this run.
        run_id: this run.
        code_version: the asset's code version, "" without one; matters for *reuse* "always" alone.
        reuse: whose successes to recall; see `FanoutPolicy.reuse`.
    """

    ledger: Ledger
    scope: LedgerScope
    run_id: str
    code_version: str
    reuse: Reuse

    def recall(self, run: StageRun, jobs: Sequence[Job]) -> Iterator[tuple[Job, Ended]]:
        """Return those of *jobs* that need not run, and how they ended.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        found: list[tuple[Job, LedgerEntry | None]]
        if not run.stage.reusable:
            found = []
        elif self.reuse == "lineage":
            by_unit = self.ledger.successes(self.scope, run.index, {job.record_key for job in jobs})
            found = [(job, by_unit.get((job.record_key, job.unit.key))) for job in jobs]
        elif self.reuse == "always":
            by_fingerprint = self.ledger.successes_anywhere(
                self.scope.asset,
                run.index,
                {job.fingerprint for job in jobs},
                code_version=self.code_version,
                partition=self.scope.partition,
            )
            found = [(job, by_fingerprint.get(job.fingerprint)) for job in jobs]
        else:
            found = []
        for job, entry in found:
            # A stage that another followed then, and none follows now, has to say so as if it ran.
            if entry is None or (run.is_last and entry.fanout is not None):
                continue
            if entry.fingerprint == job.fingerprint:
                reply = UnitReply(entry.status, entry.seconds, entry.result_json, entry.fanout)
                yield job, Ended(reply, entry.attempts, entry.seconds)

    def remember(self, run: StageRun, job: Job, ended: Ended) -> None:
        """Have the ledger write how a unit ended, within half a second.

        Raises:
            LedgerError: an earlier outcome could not be written.
        """
        reply = ended.reply
        self.ledger.put(
            LedgerEntry(
                scope=self.scope,
                run_id=self.run_id,
                record_key=job.record_key,
                stage=run.stage.name,
                stage_index=run.index,
                unit_key=job.unit.key,
                fingerprint=job.fingerprint,
                code_version=self.code_version,
                status=reply.status,
                attempts=ended.attempts,
                seconds=ended.seconds,
                ended_at=time.time(),
                result_json=reply.result_json,
                fanout=reply.fanout,
                error=reply.error,
            )
        )
