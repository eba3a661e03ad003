"""Which records share a step, when the policy leaves that to the fan-out."""

import contextvars
import sqlite3
import threading
from collections.abc import Iterable, Iterator

import pytest

from project_fanout.engine.read_ahead import ReadAhead
from project_fanout.engine.record_state import RecordState
from project_fanout.engine.step_batches import in_batches
from project_fanout.engine.tally import Tally


def records(count: int, prefix: str = "") -> Iterator[RecordState]:
    """Yield records without units."""
    return (RecordState(f"{prefix}{number}", ()) for number in range(count))


def keys(batches: Iterable[tuple[RecordState, ...]]) -> list[list[str]]:
    """Return the keys of the records of each batch."""
    return [[record.record_key for record in batch] for batch in batches]


@pytest.mark.parametrize(
    ("count", "least", "most"), [(150, 150, 150), (10_000, 500, 620), (100_000, 700, 850)]
)
def test_the_steps_grow_with_the_list(count: int, least: int, most: int) -> None:
    """A step for each of the first, at most a hundredth in each later one, and none lost or out of order."""
    batches = keys(in_batches(records(count), "auto", Tally()))
    assert [key for batch in batches for key in batch] == [str(number) for number in range(count)]
    assert least <= len(batches) <= most
    assert {len(batch) for batch in batches[:100]} == {1}
    found = 0
    for batch in batches:
        found += len(batch)
        assert len(batch) <= max(1, found / 100)


@pytest.mark.parametrize(("per_step", "lengths"), [(1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (100, [7])])
def test_a_number_is_what_each_step_holds(per_step: int, lengths: list[int]) -> None:
    """The last one holds what is left."""
    assert [len(batch) for batch in in_batches(records(7), per_step, Tally())] == lengths


def test_what_has_been_gathered_does_not_wait_for_a_slow_generator() -> None:
    """After half a second it is sent off; here the next record never comes before that."""
    goes_on = threading.Event()

    def found() -> Iterator[RecordState]:
        yield from records(1_009)
        assert goes_on.wait(60)
        yield from records(1, "late ")

    with ReadAhead(found()) as ahead:
        batches = in_batches(ahead, "auto", Tally())
        before: list[str] = []
        while len(before) < 1_009:
            before += [record.record_key for record in next(batches)]
        goes_on.set()
        assert keys(batches) == [["late 0"]]


def test_idle_workers_get_at_once_what_there_is() -> None:
    """Once all steps are through, the next record has a step of its own."""
    tally = Tally()
    batches = in_batches(records(3_000), "auto", tally)
    sent = 0
    while len(next(batches)) < 5:
        sent += 1
        # Dagster's own executors start no step before the trigger has ended: that is no idleness.
        assert not tally.is_idle(sent)
    for _ in range(sent + 1):
        with tally.step_in_progress():
            pass
    assert len(next(batches)) == 1


def test_the_next_attempt_of_a_trigger_sends_off_the_same() -> None:
    """Steps may have taken it already, however fast the records came then; what is new comes after."""
    tally = Tally()
    goes_on = threading.Event()

    def slowly() -> Iterator[RecordState]:
        yield from records(1_009)
        assert goes_on.wait(60)
        yield from records(5, "late ")

    first: list[list[str]] = []
    with ReadAhead(slowly()) as ahead:
        for batch in in_batches(ahead, "auto", tally):
            first += keys([batch])
            if "1008" in first[-1]:
                goes_on.set()
    sent = len([batch for batch in first if not batch[0].startswith("late")])
    second = keys(in_batches([*records(1_009), *records(50, "late ")], "auto", tally))
    assert second[:sent] == first[:sent]
    assert [key for batch in second for key in batch][1_009:] == [f"late {number}" for number in range(50)]


def test_a_record_that_the_next_attempt_does_not_find_holds_up_nothing() -> None:
    """Where the last batch ended, nothing ends now: then the batches are no longer than before."""
    tally = Tally()
    first = keys(in_batches(records(1_000), "auto", tally))
    gone = {batch[-1] for batch in first[300:]}
    second = keys(in_batches((each for each in records(1_000) if each.record_key not in gone), "auto", tally))
    assert max(map(len, second)) <= max(map(len, first)) + 1


# Reading ahead


def test_a_generator_stays_in_the_thread_in_which_it_began() -> None:
    """A connection of sqlite3 refuses any other; it is closed there, too, when nobody wants the rest."""
    closed_in: list[threading.Thread] = []

    def numbers() -> Iterator[int]:
        connection = sqlite3.connect(":memory:")
        try:
            for (number,) in connection.execute(
                "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n) SELECT i FROM n"
            ):
                yield number
        finally:
            connection.close()
            closed_in.append(threading.current_thread())

    with ReadAhead(numbers()) as ahead:
        items = iter(ahead)
        assert [next(items) for _ in range(100)] == list(range(100))
    assert [thread.name for thread in closed_in] == ["project_fanout records"]


def test_what_the_generator_raises_is_raised_behind_its_items() -> None:
    """With its own traceback."""

    def two() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("third")

    with ReadAhead(two()) as ahead:
        items = iter(ahead)
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(KeyError, match="third") as error:
            next(items)
    assert error.traceback[-1].name == "two"


def test_context_variables_are_seen() -> None:
    """Those of the thread that reads ahead."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    variable.set("set")

    def seen() -> Iterator[str]:
        yield variable.get()

    with ReadAhead(seen()) as ahead:
        assert list(ahead) == ["set"]


def test_no_more_than_a_few_items_are_ahead() -> None:
    """A fast generator fills no memory."""
    made = []

    def numbers() -> Iterator[int]:
        for number in range(10_000):
            made.append(number)
            yield number

    with ReadAhead(numbers()) as ahead:
        items = iter(ahead)
        for wanted in range(50):
            assert next(items) == wanted
            assert len(made) <= wanted + 20
