"""The order in which a step hands out its units."""

import random

import pytest

from project_fanout.engine.record_state import EncodedUnit
from project_fanout.engine.task import Task
from project_fanout.engine.unit_queue import UnitQueue


def tasks(*names: str) -> list[Task]:
    """Return a task for each of *names*, whose first letter is its record."""
    return [Task(name[0], EncodedUnit(name, "null"), name) for name in names]


def keys(queue: UnitQueue) -> list[str]:
    """Take what can be taken now, and return the keys."""
    taken = []
    while (task := queue.take()) is not None:
        taken.append(task.unit.key)
    return taken


def test_units_go_out_in_order() -> None:
    """Where units of a record may be in work together, they wait in one line; a retry is the next."""
    queue = UnitQueue(tasks("a1", "a2", "b1"), one_per_record=False)
    (late,) = tasks("a0")
    queue.put_first(late)
    assert keys(queue) == ["a0", "a1", "a2", "b1"]


def test_one_unit_of_each_record_at_a_time() -> None:
    """Where they may not, records do not wait for each other, and a retry goes before the record's other units."""
    first, *_ = all_tasks = tasks("a1", "a2", "b1", "b2", "c1")
    queue = UnitQueue(all_tasks, one_per_record=True)
    assert keys(queue) == ["a1", "b1", "c1"]
    queue.put_first(first)
    assert keys(queue) == []
    queue.release(first)
    assert keys(queue) == ["a1"]
    queue.release(first)
    assert keys(queue) == ["a2"]
    assert [task.unit.key for task in queue.drain()] == ["b2"]
    queue.release(first)
    assert keys(queue) == []


@pytest.mark.parametrize("seed", range(20))
def test_every_unit_goes_out_once(seed: int) -> None:
    """In whatever order units come back: none is lost or doubled, none of a record overtakes another."""
    rng = random.Random(seed)
    all_tasks = tasks(*(f"{record}{number}" for record in "abcd" for number in range(rng.randrange(6))))
    queue = UnitQueue(all_tasks, one_per_record=True)
    out: list[Task] = []
    order: list[str] = []
    while True:
        if (task := queue.take()) is not None:
            assert task.record_key not in {each.record_key for each in out}
            out.append(task)
            order.append(task.unit.key)
        elif not out:
            break
        else:
            queue.release(out.pop(rng.randrange(len(out))))
    assert sorted(order) == sorted(task.unit.key for task in all_tasks)
    for record in "abcd":
        assert [key for key in order if key[0] == record] == sorted(key for key in order if key[0] == record)
