"""The order in which calls get a worker."""

from hypothesis import given
from hypothesis import strategies as st

from project_fanout.engine.pools.backlog import Backlog
from project_fanout.engine.pools.ticket import Ticket
from project_fanout_tests.engine.pools.support import make_call


def ticket(key: str, budget: str = "", limit: int | None = None) -> Ticket:
    """Return a ticket of that budget."""
    return Ticket(make_call("echo", key=key, budget=budget, max_in_flight=limit))


def keys(backlog: Backlog) -> list[str]:
    """Take all that may start now."""
    taken = []
    while (each := backlog.take()) is not None:
        taken.append(each.call.unit_key)
    return taken


def filled(*tickets: Ticket) -> Backlog:
    """Return a backlog with these tickets."""
    backlog = Backlog(workers=0)
    for each in tickets:
        backlog.append(each)
    return backlog


def test_a_full_budget_is_passed_over_until_a_place_is_free() -> None:
    """An asset at its limit waits; those behind it do not."""
    first = ticket("a1", "a", 1)
    backlog = filled(first, ticket("a2", "a", 1), ticket("b1", "b", 2), ticket("c1"))
    assert keys(backlog) == ["a1", "b1", "c1"]
    backlog.finish(first)
    assert keys(backlog) == ["a2"]


@given(st.lists(st.sampled_from(["", "a", "b"]), max_size=12), st.data())
def test_what_is_put_back_is_taken_in_its_old_place(budgets: list[str], data: st.DataObject) -> None:
    """A call that a dying worker had not started loses neither its place nor anything else."""
    backlog = filled(*(ticket(str(index), budget) for index, budget in enumerate(budgets)))
    taken = [each for _ in budgets if (each := backlog.take())]
    for each in data.draw(st.permutations(taken)):
        backlog.put_back(each)
    assert len(backlog) == len(budgets)
    assert keys(backlog) == [str(index) for index in range(len(budgets))]


def test_a_call_ahead_takes_the_place_of_the_one_before_it_in_its_budget() -> None:
    """Handing a worker its next call early neither breaks a budget nor overtakes a call."""
    current = ticket("a1", "a", 1)
    backlog = filled(current, ticket("a2", "a", 1), ticket("b1", "b", 1), ticket("c1"))
    assert backlog.take() is current
    (ahead,) = backlog.take_behind(current, 1, 1000)
    assert ahead.call.unit_key == "a2"
    # b1 is next, but on this worker it would wait for a2 while b is free: none may overtake it.
    assert backlog.take_behind(ahead, 1, 1000) == []
    assert keys(backlog) == ["b1", "c1"]


def test_a_large_call_is_not_handed_over_early() -> None:
    """A call that might not fit into the socket's buffer waits for a worker that reads."""
    current, large = ticket("1"), ticket("2")
    backlog = filled(current, large)
    backlog.take()
    assert backlog.take_behind(current, 1, large.size - 1) == []
    assert backlog.take_behind(current, 1, large.size) == [large]
