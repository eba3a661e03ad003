"""The order in which a step hands out its units."""

import random

import pytest

from project_fanout.engine import Unit
from project_fanout.engine.job import Job
from project_fanout.engine.unit_queue import UnitQueue


def jobs(*names: str) -> list[Job]:
    """Return a job for each of *names*, whose first letter is its record."""
    return [Job(name[0], Unit(name), "null", name) for name in names]


def keys(queue: UnitQueue) -> list[str]:
    """Take what can be taken now, and return the keys."""
    taken = []
    while (job := queue.take()) is not None:
        taken.append(job.unit.key)
    return taken


def test_units_go_out_in_order() -> None:
    """Where units of a record may be in work together, they wait in one line; a retry is the next."""
    queue = UnitQueue(jobs("a1", "a2", "b1"), one_per_record=False)
    (late,) = jobs("a0")
    queue.put_first(late)
    assert keys(queue) == ["a0", "a1", "a2", "b1"]


def test_one_unit_of_each_record_at_a_time() -> None:
    """Where they may not, records do not wait for each other, and a retry goes before the record's other units."""
    first, *_ = all_jobs = jobs("a1", "a2", "b1", "b2", "c1")
    queue = UnitQueue(all_jobs, one_per_record=True)
    assert keys(queue) == ["a1", "b1", "c1"]
    queue.put_first(first)
    assert keys(queue) == []
    queue.release(first)
    assert keys(queue) == ["a1"]
    queue.release(first)
    assert keys(queue) == ["a2"]
    assert [job.unit.key for job in queue.drain()] == ["b2"]
    queue.release(first)
    assert keys(queue) == []


@pytest.mark.parametrize("seed", range(20))
def test_every_unit_goes_out_once(seed: int) -> None:
    """In whatever order units come back: none is lost or doubled, none of a record overtakes another."""
    rng = random.Random(seed)
    all_jobs = jobs(*(f"{record}{number}" for record in "abcd" for number in range(rng.randrange(6))))
    queue = UnitQueue(all_jobs, one_per_record=True)
    out: list[Job] = []
    order: list[str] = []
    while True:
        if (job := queue.take()) is not None:
            assert job.record_key not in {each.record_key for each in out}
            out.append(job)
            order.append(job.unit.key)
        elif not out:
            break
        else:
            queue.release(out.pop(rng.randrange(len(out))))
    assert sorted(order) == sorted(job.unit.key for job in all_jobs)
    for record in "abcd":
        assert [key for key in order if key[0] == record] == sorted(key for key in order if key[0] == record)
