"""How often Python looks for garbage while a run goes on."""

import gc

from project_fanout.orchestration.executor.garbage import rare_collections


def test_it_is_as_before_after_the_last_of_several_runs() -> None:
    """Thresholds and what is looked through; a cycle that a run has left is found again."""
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with rare_collections():
        with rare_collections():
            during = gc.get_threshold()
        assert gc.get_threshold() == during != before
        assert gc.get_freeze_count() > frozen
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_who_has_turned_it_off_is_not_overruled() -> None:
    """A threshold of 0 stays."""
    before = gc.get_threshold()
    try:
        gc.set_threshold(0)
        with rare_collections():
            assert gc.get_threshold()[0] == 0
        assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)
