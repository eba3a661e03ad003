"""So many starts a second, whoever shares the rate and however long a worker takes to come up."""

import itertools
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from project_fanout.engine import InlinePool, ProcessPool
from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger import Ledger
from project_fanout.engine.pools.calls import UnitPool
from project_fanout.engine.rate import Rate, next_place
from project_fanout_tests.engine.pools.test_kinds import call


def most_in_a_second(starts: Sequence[float]) -> int:
    """Return how many of *starts* lie within one second, in the fullest of all."""
    return max(sum(first <= each < first + 1 for each in starts) for first in starts)


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_all_who_share_a_ledger_take_turns(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Three at once get places at even distances, none twice; another name is another rate."""
    url = str(tmp_path / "ledger.db") if database == "sqlite" else request.getfixturevalue("postgres_url")
    with Ledger(url) as one, Ledger(url) as other:
        rates = [one.rate("pages", 200), one.rate("pages", 200), other.rate("pages", 200)]
        with ThreadPoolExecutor(3) as threads:
            taken = list(threads.map(lambda rate: [rate.next_start().at for _ in range(40)], rates))
        began = time.time()
        assert other.rate("mail", 0.001).next_start().at < began + 60
    starts = sorted(start for some in taken for start in some)
    # The clock of a database server is compared with this machine's each time, to within the way there and back.
    assert min(later - start for start, later in itertools.pairwise(starts)) >= 1 / 200 - 0.004
    assert starts[-1] - starts[0] >= 119 / 200 * 0.98


def test_places_that_nobody_took_are_not_saved_up() -> None:
    """After a pause there is no burst."""
    rate = Rate(20)
    first = rate.next_start().at
    time.sleep(0.3)  # the clock is what this is about
    later = [rate.next_start().at for _ in range(3)]
    assert later[0] >= first + 0.3
    assert later[2] - later[0] >= 2 / 20


def test_a_clock_that_was_set_back_stops_nobody() -> None:
    """A place that lies years ahead is none that somebody waits for."""
    assert next_place(free_at=2e9, now=1e9, interval=0.1) == 1e9
    assert next_place(free_at=1e9 + 50, now=1e9, interval=0.1) == 1e9 + 50


@pytest.mark.parametrize(
    ("stage", "settings"),
    [("start", {}), ("start_coroutine", {}), ("start_batch", {"batch_size": 1}), ("start", {"inline": True})],
)
def test_no_more_units_start_in_a_second_than_the_rate_says(stage: str, settings: dict[str, Any]) -> None:
    """Of three workers that come up at the same time too; every unit runs once."""
    pool: UnitPool = InlinePool() if settings.pop("inline", False) else ProcessPool(3)
    rate = Rate(40)
    with pool:  # type: ignore[attr-defined]  # every pool closes
        is_async = stage == "start_coroutine"
        futures = [
            pool.submit(call(stage, key=f"u{n}", is_async=is_async, **settings), None, rate)
            for n in range(60)
        ]
        replies = [future.result(60) for future in futures]
    assert {reply.status for reply in replies} == {"succeeded"}
    starts = [json.loads(reply.encoded) for reply in replies if isinstance(reply.encoded, str)]
    assert most_in_a_second(starts) <= 40
    assert max(starts) - min(starts) >= 59 / 40


def test_other_calls_do_not_wait_for_a_rate() -> None:
    """A worker that waits for a start runs what may start at once."""
    with ProcessPool(1) as pool:
        slow = [
            pool.submit(call("start", key=f"s{n}", is_async=False, budget="slow"), None, rate)
            for rate in [Rate(0.01)]
            for n in range(2)
        ]
        quick = [pool.submit(call("start", key=f"q{n}", is_async=False, budget="quick")) for n in range(20)]
        assert {future.result(60).status for future in quick} == {"succeeded"}
        assert slow[0].result(60).status == "succeeded"
        assert not slow[1].done()
        assert slow[1].cancel()


def test_a_rate_that_cannot_be_asked_fails_its_units() -> None:
    """What the ledger says reaches the run; other units go on."""

    def reserve(interval: float, count: int) -> float:
        raise LedgerError("Ledger gone.")

    with ProcessPool(1) as pool:
        failed = [pool.submit(call("start", is_async=False), None, Rate(10, reserve)) for _ in range(3)]
        for future in failed:
            with pytest.raises(LedgerError, match="Ledger gone"):
                future.result(60)
        assert pool.submit(call("start", is_async=False, budget="b")).result(60).status == "succeeded"
