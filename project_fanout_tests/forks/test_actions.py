"""The registry of actions."""

import pytest

from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.forks.actions import Action, Actions, UnknownActionError
from project_fanout_tests.forks.fork_stages import add_one, double, leave_mark, shout


def test_a_function_is_an_action():
    """A plain stage function is registered under its own name."""
    found = Actions([shout]).find("shout")
    assert (found.action.name, found.action.version) == ("shout", 1)
    assert [param.name for param in found.params] == ["text", "mark"]


def test_versions_live_side_by_side():
    """A name has any number of versions, each with stages of its own."""
    actions = Actions([Action("twice", [double], 1), Action("twice", [double, add_one], 2)])
    assert len(actions.find("twice", 1).stages) == 1
    assert len(actions.find("twice").stages) == 2


def test_defaults_for_every_action_that_has_the_input():
    """One setting reaches the actions that have such an input, coerced to its type, and no other."""
    actions = Actions([double, shout, Action("quiet", [shout])], defaults={"mark": "."})
    for name in ("shout", "quiet"):
        [stage] = actions.find(name).plan({"text": "a"})
        assert dict(stage.params) == {"text": "a", "mark": "."}
    [stage] = actions.find("double").plan({"number": "4"})
    assert dict(stage.params) == {"number": 4}


def test_what_resources_supply_is_no_input():
    """A parameter that a resource fills cannot be set by a task."""
    actions = Actions([leave_mark], supplied={"folder": None})
    assert list(actions.find("leave_mark").params) == []
    with pytest.raises(Exception, match="folder is no param"):
        actions.find("leave_mark").plan({"folder": "/"})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Action("", [double]), "'' is not an action's name"),
        (lambda: Action("a", []), r"'a' has the stages \[\]"),
        (lambda: Action("a", double), "give a list of at least one function"),
        (lambda: Action("a", [double], "1"), "has the version '1', accepted: int, 1 or more"),
        (lambda: Action("a", [double], 0), "has the version 0, accepted"),
        (lambda: Actions([double, double]), "two actions double version 1"),
        (lambda: Actions([lambda unit: 1]), "lambda"),
        (lambda: Actions([Action("a", [len])]), "Action a version 1: .*is not a stage"),
        (lambda: Actions([shout], defaults={"marks": 1}), "params sets 'marks', accepted: mark, text"),
        (lambda: Actions([double], defaults={"number": "x"}), "Action double version 1: .*number is 'x'"),
    ],
)
def test_what_cannot_be_registered(make, said):
    """A registry that cannot work is refused when it is made, by name."""
    with pytest.raises(FanoutDefinitionError, match=said):
        make()


def test_what_is_not_there():
    """An unknown name is answered with the known ones."""
    with pytest.raises(UnknownActionError, match="'triple' is not registered, accepted: 'double'"):
        Actions([double]).find("triple")
    with pytest.raises(UnknownActionError, match="'double' has no version 2, accepted: 1"):
        Actions([double]).find("double", 2)
