"""Rates that several processes share, through a row of the ledger each."""

import time
from functools import partial

from sqlalchemy import Connection, func, insert, select, update

from project_fanout.engine.ledger.database import LedgerDatabase
from project_fanout.engine.ledger.schema import RATES, digest
from project_fanout.engine.rate import Rate, next_place


def shared_rate(database: LedgerDatabase, name: str, per_second: float) -> Rate:
    """Return the rate *name*; all who ask for it with the same database share it."""

    def reserve(interval: float, count: int) -> float:
        return database.write(partial(_reserve, name=name, interval=interval, count=count))

    return Rate(per_second, reserve)


def _reserve(connection: Connection, *, name: str, interval: float, count: int) -> float:
    """Take *count* places and return the time of the first by this machine's clock."""
    row = RATES.c.rate_id == digest(name)
    # Two that insert it at once: the database refuses one, which is tried again. The lock on the row makes it a queue.
    free_at = connection.scalar(select(RATES.c.free_at).where(row).with_for_update())
    before = time.time()
    if connection.dialect.name == "postgresql":
        # By the server's clock, which all machines share.
        now = float(connection.scalar(select(func.extract("epoch", func.clock_timestamp()))) or 0.0)
        ahead_s = now - (before + time.time()) / 2
    else:
        now, ahead_s = before, 0.0
    first = next_place(free_at or 0.0, now, interval)
    following = first + count * interval
    if free_at is None:
        connection.execute(insert(RATES).values(rate_id=digest(name), name=name, free_at=following))
    else:
        connection.execute(update(RATES).where(row).values(free_at=following))
    return first - ahead_s
