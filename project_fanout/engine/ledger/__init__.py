"""The durable store of unit outcomes, and claims on effects; knows neither pools nor the runner."""

from project_fanout.engine.ledger.claims import Claims
from project_fanout.engine.ledger.database import (
    LEDGER_URL,
    VALUES_URL,
    default_ledger_url,
    default_values_url,
    is_refused,
)
from project_fanout.engine.ledger.entry import (
    InWork,
    LedgerEntry,
    LedgerFilter,
    LedgerScope,
    LedgerSummary,
    Pruned,
    RunNews,
    RunNote,
    Taken,
)
from project_fanout.engine.ledger.ledger import Ledger

__all__ = [
    "LEDGER_URL",
    "VALUES_URL",
    "Claims",
    "InWork",
    "Ledger",
    "LedgerEntry",
    "LedgerFilter",
    "LedgerScope",
    "LedgerSummary",
    "Pruned",
    "RunNews",
    "RunNote",
    "Taken",
    "default_ledger_url",
    "default_values_url",
    "is_refused",
]
