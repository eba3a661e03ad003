"""Where the ledger of a Dagster instance is while no setting says so."""

import os
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from project_fanout.engine.ledger import LEDGER_URL, default_ledger_url


@dataclass(frozen=True, slots=True)
class InstanceLedger:
    """The place of a ledger that nobody has named.

    Args:
        url: where it is.
        otherwise: where it is in the case that nothing may be kept at *url*; None if there is no other place.
        problem: why it is not in the database of the instance, "" where there is none, or nothing in the way.
    """

    url: str
    otherwise: str | None = None
    problem: str = ""


def instance_ledger(instance: dg.DagsterInstance) -> InstanceLedger:
    """Return where the ledger of *instance* is.

    That is FANOUT_LEDGER_URL, else a ledger that its home holds already, else its own database if that is PostgreSQL,
    which all of its runs reach wherever they are; else a new file in its home.
    """
    file = default_ledger_url(home=instance.root_directory)
    if os.environ.get(LEDGER_URL) or Path(file).exists():
        return InstanceLedger(file)
    # That of dagster_postgres alone has it.
    database = getattr(instance.run_storage, "postgres_url", None)
    if database is None:
        return InstanceLedger(file)
    if getattr(instance.run_storage, "_token_provider", None) is not None:
        return InstanceLedger(file, problem="Dagster signs in to it with tokens, which the ledger cannot get")
    return InstanceLedger(str(database), otherwise=file)
