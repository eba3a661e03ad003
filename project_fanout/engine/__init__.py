"""Units, records and the pools they run in. Imports no Dagster, so that a pool worker starts fast."""

from typing import TYPE_CHECKING

from project_fanout.engine.container import available_cpus
from project_fanout.engine.errors import FinalError, RetryAfter
from project_fanout.engine.model import (
    Fanout,
    Record,
    RecordOutcome,
    Unit,
    UnitError,
    UnitFailure,
    UnitOutcome,
)
from project_fanout.engine.per_worker import per_worker
from project_fanout.engine.policy import FanoutPolicy
from project_fanout.engine.pools.inline import InlinePool
from project_fanout.engine.pools.process import ProcessPool
from project_fanout.engine.stages import never_reused, reused_if
from project_fanout.lazy import lazy_names

if TYPE_CHECKING:
    from project_fanout.engine.ledger import Claims

__all__ = [
    "Claims",
    "Fanout",
    "FanoutPolicy",
    "FinalError",
    "InlinePool",
    "ProcessPool",
    "Record",
    "RecordOutcome",
    "RetryAfter",
    "Unit",
    "UnitError",
    "UnitFailure",
    "UnitOutcome",
    "available_cpus",
    "never_reused",
    "per_worker",
    "reused_if",
]

__getattr__ = lazy_names(__name__, {"Claims": "project_fanout.engine.ledger.claims"})
