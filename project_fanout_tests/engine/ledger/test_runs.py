"""What a ledger knows of runs and of what their workers did, on SQLite and on PostgreSQL."""

from collections.abc import Iterator

import pytest

from project_fanout.engine.ledger import InWork, Ledger, LedgerFilter, LedgerScope, RunNews, Taken
from project_fanout.engine.ledger.run_counts import (
    is_in_work,
    outcome_counts,
    run_parts,
    run_spans,
    units_in_work,
)
from project_fanout.engine.ledger.runs import later_run, noted_reuse, noted_runs, run_ids, units_reused
from project_fanout.engine.model import EarlierAttempt, UnitError
from project_fanout.orchestration.usage import PARTS, Usage
from project_fanout_tests.engine.ledger.support import SCOPE, make_entry
from project_fanout_tests.waiting import wait_until


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """An empty ledger on each database."""
    with Ledger(ledger_url) as ledger:
        yield ledger


def test_news_of_a_run_add_up(ledger: Ledger) -> None:
    """What is not said stays as it was; of places the most count."""
    for news in (
        RunNews(run_id="run-1", scope=SCOPE, at=10.0, stages=("a", "b")),
        RunNews(run_id="run-1", scope=SCOPE, at=11.0, records=3, units=40),
        RunNews(run_id="run-1", scope=SCOPE, at=12.0, places=4),
        RunNews(run_id="run-1", scope=SCOPE, at=13.0, places=2, found_all=True),
        RunNews(run_id="run-1", scope=SCOPE, at=14.0, state="failed", error="нет \0", ended_at=14.0),
    ):
        ledger.note_run(news)
    ledger.flush()
    (note,) = ledger.read(lambda connection: noted_runs(connection, "run-1"))
    assert (note.scope, note.stages, note.began_at, note.seen_at) == (SCOPE, ("a", "b"), 10.0, 14.0)
    assert (note.records, note.units, note.found_all, note.places) == (3, 40, True, 4)
    assert (note.state, note.error, note.ended_at) == ("failed", "нет \0", 14.0)


def test_a_run_without_a_trigger_has_found_what_the_run_before_had(ledger: Ledger) -> None:
    """A re-execution from the failure does not look for the records again; other scopes are not its own."""
    other = LedgerScope("lineage-2", "word_counts")
    ledger.note_run(RunNews(run_id="run-1", scope=SCOPE, at=10.0, records=3, units=40, found_all=True))
    ledger.note_run(RunNews(run_id="run-2", scope=SCOPE, at=20.0))
    ledger.note_run(RunNews(run_id="run-3", scope=other, at=30.0))
    ledger.flush()
    (second,) = ledger.read(lambda connection: noted_runs(connection, "run-2"))
    assert (second.records, second.units, second.found_all, second.state) == (3, 40, True, "running")
    (first,) = ledger.read(lambda connection: noted_runs(connection, "run-1"))
    assert ledger.read(lambda connection: later_run(connection, first)) == "run-2"
    assert ledger.read(lambda connection: later_run(connection, second)) is None
    assert ledger.read(lambda connection: run_ids(connection, "run-")) == ["run-3", "run-2", "run-1"]


def test_what_was_taken_from_another_lineage_is_noted_once(ledger: Ledger) -> None:
    """A step that is tried again notes the same."""
    taken = [Taken("r \0", "lineage-0", "run-0", 2), Taken("r2", "lineage-0", "run-0", 3)]
    for _ in range(2):
        ledger.note_reuse(SCOPE, 1, taken)
    assert sorted(ledger.read(lambda connection: noted_reuse(connection, SCOPE))) == [
        (1, each) for each in sorted(taken)
    ]
    assert ledger.read(lambda connection: units_reused(connection, SCOPE)) == {1: 5}


def test_pruning_a_lineage_forgets_its_runs(ledger: Ledger) -> None:
    """And what it has taken."""
    ledger.put(make_entry())
    ledger.note_run(RunNews(run_id="run-1", scope=SCOPE))
    ledger.flush()
    ledger.note_reuse(SCOPE, 0, [Taken("r", "lineage-0", "run-0", 2)])
    ledger.prune(LedgerFilter(SCOPE.lineage))
    assert ledger.read(lambda connection: run_ids(connection, "")) == []
    assert ledger.read(lambda connection: noted_reuse(connection, SCOPE)) == []


def test_outcomes_are_counted_by_stage_status_and_run(ledger: Ledger) -> None:
    """With how many ended of late."""
    for number in range(4):
        ledger.put(make_entry(f"u{number}", ended_at=100.0 + number, attempts=1 + number % 2))
    ledger.put(make_entry("old", run_id="run-0", ended_at=50.0))
    error = UnitError("E", "m")
    ledger.put(make_entry("bad", status="failed", encoded=None, error=error, stage_index=1, stage="second"))
    ledger.note_run(RunNews(run_id="run-1", scope=SCOPE))
    ledger.flush()
    (note,) = ledger.read(lambda connection: noted_runs(connection, "run-1"))
    counts = ledger.read(lambda connection: outcome_counts(connection, note, 101.5))
    found = {
        (each.stage, each.status, each.is_of_run): (each.units, each.retried, each.since) for each in counts
    }
    assert found == {
        ("count_words", "succeeded", True): (4, 2, 2),
        ("count_words", "succeeded", False): (1, 0, 0),
        ("second", "failed", True): (1, 0, 1),
    }


def test_units_in_work_are_known_while_they_are(ledger: Ledger) -> None:
    """Those that have been for some tenths of a second."""
    ledger.note_run(RunNews(run_id="run-1", scope=SCOPE))
    ledger.begin(InWork(SCOPE, "run-1", 0, "r1", "u \0"), is_resumed=True)
    ledger.flush()
    (note,) = ledger.read(lambda connection: noted_runs(connection, "run-1"))
    assert ledger.read(lambda connection: units_in_work(connection, note)) == {0: 1}
    assert ledger.read(lambda connection: is_in_work(connection, note, "r1", "u \0"))
    assert not ledger.read(lambda connection: is_in_work(connection, note, "r1", "other"))
    ledger.put(make_entry("u \0"))
    wait_until(
        lambda: not ledger.read(lambda connection: units_in_work(connection, note)), "it is no longer", 20
    )


def test_an_outcome_keeps_what_people_ask_about(ledger: Ledger) -> None:
    """The worker, the wait, the attempts before the last, and how the payload begins."""
    earlier = (EarlierAttempt("failed", 0.5, "E: первая"), EarlierAttempt("timed_out", 1.5, ""))
    entry = make_entry(worker="node 1", waited=2.5, earlier=earlier, attempts=3, seconds=3.0, input="{…} \0")
    ledger.put(entry)
    ledger.flush()
    (found,) = ledger.entries(LedgerFilter())
    assert found == entry
    (span,) = ledger.read(lambda connection: run_spans(connection, SCOPE, "run-1"))
    assert (span.worker, span.began_at, span.ended_at) == ("node 1", 999.5, 1_000.5)


def test_a_timeline_of_sums_is_that_of_the_units(ledger: Ledger) -> None:
    """Where units are short: who needs no more than the sums reads no more."""
    for number in range(2_000):
        ended = 1_000 + number * 0.01
        status = {"status": "failed", "encoded": None} if number % 100 == 0 else {}
        ledger.put(make_entry(f"u{number}", seconds=0.01, ended_at=ended, worker=str(number % 2), **status))
    ledger.flush()
    one = Usage.of(ledger.read(lambda connection: run_spans(connection, SCOPE, "run-1")), 2)
    wall_s, parts = ledger.read(lambda connection: run_parts(connection, SCOPE, "run-1", PARTS))
    other = Usage.of_parts(wall_s, parts, 2)
    assert one is not None
    assert one.workers == other.workers == ("0", "1")
    assert one.efficiency == pytest.approx(other.efficiency)
    assert one.busy.sum() == pytest.approx(other.busy.sum())
    assert one.failed.sum() == other.failed.sum() == 20
    assert abs(one.busy.cumsum(axis=1) - other.busy.cumsum(axis=1)).max() < 2
    assert ledger.read(lambda connection: run_parts(connection, SCOPE, "run-2", PARTS)) == (0.0, [])
