"""The work of the jobs whose database is broken; imports no Dagster, so that workers start at once."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from project_fanout.engine import Record, Unit

#: Where marks go, and the URL of the ledger: in the environment, which worker processes share.
MARKS, LEDGER = "FANOUT_TEST_MARKS", "FANOUT_TEST_LEDGER"
ITEMS = 8
_ROUNDS = 20_000


def hashed(name: str) -> str:
    """Do some 10 ms of work and leave a mark that says how often it has been done."""
    with (Path(os.environ[MARKS]) / name).open("a") as mark:
        mark.write("x")
    return hashlib.pbkdf2_hmac("sha256", name.encode(), b"salt", _ROUNDS).hex()


def records() -> Iterator[Record]:
    for number in range(ITEMS):
        yield Record(
            key=str(number), units=[Unit(key=str(unit), payload=f"{number} {unit}") for unit in range(4)]
        )


def hash_unit(unit: Unit) -> dict[str, str]:
    return {"digest": hashed(str(unit.payload))}
