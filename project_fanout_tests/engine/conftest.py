"""Where the ledger of a test is."""

from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new ledger goes, on each database."""
    if request.param == "sqlite":
        return str(tmp_path / "made" / "ledger.db")
    return str(request.getfixturevalue("postgres_url"))
