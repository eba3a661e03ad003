"""Ledgers and entries for the ledger's tests."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from project_fanout.engine import UnitOutcome
from project_fanout.engine.fingerprint import unit_fingerprint
from project_fanout.engine.ledger import LedgerEntry, LedgerScope

SCOPE = LedgerScope("lineage-1", "word_counts")


def make_entry(unit_key: str = "u1", **changes: Any) -> LedgerEntry:
    """Return a success of *unit_key* in record r1 of `SCOPE`, but for *changes*."""
    entry: dict[str, Any] = {
        "scope": SCOPE,
        "run_id": "run-1",
        "code_version": "1",
        "fingerprint": unit_fingerprint("stages:count_words", unit_key, f'"{unit_key}"', "{}"),
        "input": None,
    }
    outcome: dict[str, Any] = {
        "record_key": "r1",
        "stage": "count_words",
        "stage_index": 0,
        "unit_key": unit_key,
        "status": "succeeded",
        "attempts": 1,
        "seconds": 0.25,
        "ended_at": 1_000.5,
        "encoded": '{"words":3}',
    }
    for name, value in changes.items():
        (entry if name in entry else outcome)[name] = value
    return LedgerEntry(**entry, outcome=UnitOutcome(**outcome))


@contextmanager
def locked(path: Path) -> Iterator[threading.Event]:
    """Keep an SQLite file locked as another process would, until the event is set or the block ends."""
    release, is_locked = threading.Event(), threading.Event()

    def hold() -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        is_locked.set()
        release.wait(60)
        connection.execute("ROLLBACK")
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_locked.wait(30)
    try:
        yield release
    finally:
        release.set()
        thread.join()


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be somebody who may not write everything, also where root runs the tests."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)
