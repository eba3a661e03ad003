"""While a fan-out runs, a line every few seconds says how far it is."""

import itertools

import pytest

from project_fanout.engine.progress import Progress


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock that shows 0."""
    return Clock()


@pytest.fixture
def progress(clock: Clock) -> Progress:
    """Return the progress of a fan-out that begins."""
    return Progress(clock)


def test_a_line_counts_what_is_done_failed_running_and_waiting(clock: Clock, progress: Progress) -> None:
    """With the rate and the time left, once the number of units is known."""
    progress.find(400)
    with progress.step(100, is_first=True) as step:
        step.places, step.in_pool = 2, range(5)
        assert progress.next_line() is None
        for number in range(50):
            step.end(succeeded=number > 2)
        clock.now = 5.0
        line = "50 of 400 units done so far, 3 failed, 2 running, 348 waiting; 10 a second."
        assert progress.next_line() == line
        assert progress.next_line() is None
        progress.expect(400)
        clock.now = 10.0
        assert progress.next_line() == (
            "50 of 400 units done (12%), 3 failed, 2 running, 348 waiting; 5 a second, 1 min 10 s left."
        )


def test_units_of_later_stages_and_reused_ones_are_told_apart(clock: Clock, progress: Progress) -> None:
    """A later stage's units are known when its steps begin; reused ones say nothing about the rate."""
    progress.find(10)
    with progress.step(10, is_first=True) as step:
        step.reuse(8)
        step.end(succeeded=True)
        step.end(succeeded=True)
    with progress.step(1_500, is_first=False):
        clock.now = 8.0
        assert progress.next_line() == (
            "10 of 1,510 units done so far, 8 of them reused, 0 failed, 0 running, 1,500 waiting; 0.25 a second."
        )


def test_a_step_that_is_run_again_is_not_counted_twice(clock: Clock, progress: Progress) -> None:
    """What a step had done before it raised is no longer counted."""

    def fail() -> None:
        with progress.step(10, is_first=True) as step:
            step.end(succeeded=True)
            raise RuntimeError("the ledger is away")

    with pytest.raises(RuntimeError):
        fail()
    with progress.step(10, is_first=True):
        clock.now = 5.0
        assert str(progress.next_line()).startswith("0 of 10 units done so far")


@pytest.mark.parametrize(("hours", "lines"), [(1, 300), (24, 1_700)])
def test_long_runs_have_fewer_lines(clock: Clock, progress: Progress, hours: int, lines: int) -> None:
    """One every 5 s at first, and never less than one a minute."""
    found = []
    with progress.step(1, is_first=True):
        while clock.now < hours * 3600:
            clock.now += 1.0
            if progress.next_line() is not None:
                found.append(clock.now)
    assert found[:3] == [5.0, 10.0, 15.0]
    assert len(found) < lines
    assert max(later - each for each, later in itertools.pairwise(found)) <= 61
