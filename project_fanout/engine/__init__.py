"""Units, records and the pools they run in. Imports no Dagster, so that a pool worker starts fast."""

from project_fanout.engine.model import Fanout, Record, RecordOutcome, Unit, UnitError, UnitOutcome
from project_fanout.engine.policy import FanoutPolicy, available_cpus

__all__ = [
    "Fanout",
    "FanoutPolicy",
    "Record",
    "RecordOutcome",
    "Unit",
    "UnitError",
    "UnitOutcome",
    "available_cpus",
]
