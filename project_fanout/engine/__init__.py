"""Units, records and the pools they run in. Imports no Dagster, so that a pool worker starts fast."""

from project_fanout.engine.model import Fanout, Record, RecordOutcome, Unit, UnitError, UnitOutcome
from project_fanout.engine.policy import FanoutPolicy, available_cpus
from project_fanout.engine.pools.inline import InlinePool
from project_fanout.engine.pools.process import ProcessPool

__all__ = [
    "Fanout",
    "FanoutPolicy",
    "InlinePool",
    "ProcessPool",
    "Record",
    "RecordOutcome",
    "Unit",
    "UnitError",
    "UnitOutcome",
    "available_cpus",
]
