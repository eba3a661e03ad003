"""The durable store of unit outcomes, and claims on effects; knows neither pools nor the runner."""

from project_fanout.engine.ledger.claims import Claims
from project_fanout.engine.ledger.database import LEDGER_URL, default_ledger_url
from project_fanout.engine.ledger.entry import LedgerEntry, LedgerFilter, LedgerScope, LedgerSummary, Pruned
from project_fanout.engine.ledger.ledger import Ledger

__all__ = [
    "LEDGER_URL",
    "Claims",
    "Ledger",
    "LedgerEntry",
    "LedgerFilter",
    "LedgerScope",
    "LedgerSummary",
    "Pruned",
    "default_ledger_url",
]
