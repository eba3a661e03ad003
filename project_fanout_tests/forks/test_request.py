"""Reading a fork: what is accepted, and everything that is wrong said at once."""

import pytest

from project_fanout.engine.policy import FanoutPolicy
from project_fanout.forks.actions import Action, Actions
from project_fanout.forks.request import InvalidForkError, read_fork
from project_fanout_tests.forks.fork_stages import add_one, double, shout

ACTIONS = Actions(
    (double, shout, Action("double_and_one", [double, add_one], 1), Action("double_and_one", [double], 3))
)


def read(request, *, actions=ACTIONS, shared=None):
    return read_fork(request, actions, FanoutPolicy(max_attempts=2), name="fork", shared=shared)


def fork(*tasks, inputs=None, **fields):
    """A request with *tasks*; by default each has the input that `double` needs."""
    if inputs is None:
        inputs = {task["taskReferenceName"]: {"number": 1} for task in tasks}
    return {"dynamicTasks": list(tasks), "dynamicTasksInput": inputs, **fields}


def task(reference, **fields):
    return {"name": "double", "taskReferenceName": reference, **fields}


def problems(request, **options):
    """The problems of *request*, one text each."""
    with pytest.raises(InvalidForkError) as refused:
        read(request, **options)
    first, *lines = str(refused.value).splitlines()
    assert first.startswith(f"{len(lines)} problem")
    return [line.removeprefix("- ") for line in lines]


def test_tasks_become_records_in_the_order_given():
    """Each task is a record under its reference, with the stages, inputs and policy that it asks for."""
    records = read(
        fork(
            task("z", retryCount="4", timeoutSeconds=30),
            {"taskReferenceName": "a", "name": "shout", "type": "SIMPLE", "optional": "true"},
            {
                "taskReferenceName": "m",
                "type": "SUB_WORKFLOW",
                "subWorkflowParam": {"name": "double_and_one", "version": "1"},
                "timeoutSeconds": 0,
                "retryCount": 0,
            },
            inputs={"a": {"text": "hi"}, "m": {"number": "3"}, "z": {"number": 1}},
        )
    )
    assert [record.key for record in records] == ["z", "a", "m"]
    z, a, m = (record.plan for record in records)
    assert (z.policy.max_attempts, z.policy.unit_timeout_s, z.optional) == (5, 30, False)
    assert (a.policy.max_attempts, a.policy.unit_timeout_s, a.optional) == (2, None, True)
    assert (m.policy.max_attempts, m.policy.unit_timeout_s) == (1, None)
    assert [each.stage.name for each in m.stages] == ["double", "add_one"]
    assert [dict(each.params) for each in m.stages] == [{"number": 3}, {}]
    assert dict(a.stages[0].params) == {"text": "hi", "mark": "!"}


def test_no_version_is_the_highest():
    """A workflow that is asked for without a version is the latest one, as in Conductor."""
    [record] = read(
        fork(task("a", name=None, type="SUB_WORKFLOW", subWorkflowParam={"name": "double_and_one"}))
    )
    assert record.plan.action == "double_and_one version 3"


def test_inputs_of_the_task_itself_and_shared_ones():
    """What dynamicTasksInput gives wins over inputParameters, and both win over what all tasks share."""
    records = read(
        fork(
            task("a", name="shout", inputParameters={"text": "own", "mark": "?"}),
            task("b", name="shout"),
            task("c"),
            inputs={"a": {"text": "given"}, "b": {"text": "b"}, "c": {"number": 1}},
        ),
        shared={"mark": "...", "text": "shared"},
    )
    assert [dict(record.plan.stages[0].params) for record in records] == [
        {"text": "given", "mark": "?"},
        {"text": "b", "mark": "..."},
        {"number": 1},
    ]


@pytest.mark.parametrize(
    ("form", "references", "action"),
    [
        ({"forkTaskName": "double"}, ["_double_0", "_double_1"], "double version 1"),
        (
            {"forkTaskName": "double", "forkTaskType": "SIMPLE"},
            ["_double_0", "_double_1"],
            "double version 1",
        ),
        (
            {"forkTaskWorkflow": "double_and_one", "forkTaskWorkflowVersion": 1},
            ["_fork_0", "_fork_1"],
            "double_and_one version 1",
        ),
        ({"forkTaskWorkflow": "double_and_one"}, ["_fork_0", "_fork_1"], "double_and_one version 3"),
    ],
)
def test_one_task_or_workflow_for_a_list_of_inputs(form, references, action):
    """The other form that Conductor documents: the references are those that Conductor makes up."""
    records = read({**form, "forkTaskInputs": [{"number": 5}, {"number": "6"}]})
    assert [record.key for record in records] == references
    assert [dict(record.plan.stages[0].params) for record in records] == [{"number": 5}, {"number": 6}]
    assert {record.plan.action for record in records} == {action}


def test_join_on_chooses_what_is_joined():
    """Tasks that joinOn leaves out run and are not joined; an empty list leaves none out."""
    request = fork(task("a"), task("b"))
    assert [record.plan.joined for record in read({**request, "joinOn": ["b"]})] == [False, True]
    assert [record.plan.joined for record in read({**request, "joinOn": []})] == [True, True]


def test_all_problems_in_one_message():
    """Whoever writes a fork is told everything at once, each problem with where it is."""
    said = problems(
        {
            "dynamicTasks": [
                task("a"),
                task("a"),
                {"name": "double"},
                task("no_inputs"),
                task("unknown", name="treble"),
                task("workflow", type="SUB_WORKFLOW", subWorkflowParam={"name": "gone", "version": 1}),
                task(
                    "version", type="SUB_WORKFLOW", subWorkflowParam={"name": "double_and_one", "version": 2}
                ),
                task("wrong"),
                "text",
            ],
            "dynamicTasksInput": {
                "a": {"number": 1},
                "unknown": {},
                "workflow": {},
                "version": {},
                "wrong": {"number": "many", "nmber": 3},
                "stray": {},
            },
            "joinOn": ["a", "elsewhere"],
        }
    )
    expected = [
        "dynamicTasks[2]: taskReferenceName is missing",
        "dynamicTasks[8]: is 'text', accepted: a map of taskReferenceName, name",
        "taskReferenceName 'a' is given to dynamicTasks[0] and dynamicTasks[1]",
        "dynamicTasksInput has inputs for 'stray', and no task has that",
        "joinOn names 'elsewhere', and no task has that",
        "dynamicTasks[3] ('no_inputs'): has no inputs",
        "dynamicTasks[4] ('unknown'): the task 'treble' is not registered, accepted: 'double', 'shout', ",
        "dynamicTasks[5] ('workflow'): the workflow 'gone' is not registered",
        "dynamicTasks[6] ('version'): the workflow 'double_and_one' has no version 2, accepted: 1, 3",
        "dynamicTasks[7] ('wrong'): nmber is no param",
    ]
    assert len(said) == len(expected)
    for each in expected:
        assert any(each in problem for problem in said), (each, said)
    assert any("number is 'many', accepted: int" in problem for problem in said)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (fork(task("a", retryCount=-1)), "('a'): retryCount is -1, accepted: int | None, 0 to 99"),
        (
            fork(task("a", timeoutSeconds="soon")),
            "('a'): timeoutSeconds is 'soon', accepted: float | None, 0 or more",
        ),
        (fork(task("a", optional="perhaps")), "('a'): optional is 'perhaps', accepted: bool"),
        (
            fork(task("a", startDelay=5)),
            "('a'): startDelay is not supported here, accepted: taskReferenceName, name",
        ),
        (
            fork(task("a", type="HTTP")),
            "('a'): type is 'HTTP', accepted: one of 'SIMPLE', 'CUSTOM', 'SUB_WORKFLOW'",
        ),
        (
            fork(task("a", type="SUB_WORKFLOW")),
            "('a'): subWorkflowParam is missing, and type is SUB_WORKFLOW",
        ),
        (
            fork(task("a", subWorkflowParam={"name": "double"})),
            "('a'): subWorkflowParam is given, so type has to be",
        ),
        (fork(task("a", name=None)), "('a'): name is missing"),
        (fork({**task("a"), "taskReferenceName": 7}, inputs={}), "taskReferenceName is 7, accepted: str, "),
        (fork(task("a"), inputs={"a": [1]}), "('a'): its inputs are [1], accepted: a map"),
        (fork(task("a"), inputs=[1]), "dynamicTasksInput is [1], accepted: dict[str, Any]"),
        ({"dynamicTasks": {"a": 1}}, "dynamicTasks is {'a': 1}, accepted: list[Any]"),
        (fork(task("a"), joinOn="a"), "joinOn is 'a', accepted: list[str]"),
        ({"forkTaskName": "double"}, "forkTaskInputs is missing, accepted: a list"),
        ({"forkTaskInputs": [{"number": 1}]}, "forkTaskName is missing: give it or forkTaskWorkflow"),
        ({"forkTaskName": "double", "forkTaskType": "HTTP", "forkTaskInputs": []}, "forkTaskType is 'HTTP'"),
        ({**fork(task("a")), "forkTaskName": "double"}, "exclude each other"),
        ({"forkTaskName": "", "forkTaskInputs": [{}]}, "forkTaskName is '', accepted: str, at least 1 long"),
        (
            {"forkTaskWorkflow": "", "forkTaskInputs": [{}]},
            "forkTaskWorkflow is '', accepted: str, at least 1 long",
        ),
        ({"forkTaskName": "double", "forkTaskInputs": "x"}, "forkTaskInputs is 'x', accepted: list[Any]"),
        ({1: 2}, "1 is 1: Keys should be strings"),
        ({"dynamicTask": []}, "dynamicTask is not supported here, accepted: dynamicTasks, "),
    ],
)
def test_one_problem(request_, said):
    """Every single mistake is named with its value and what is accepted."""
    assert any(said in problem for problem in problems(request_)), problems(request_)


def test_a_wrong_version_is_one_problem():
    """What is wrong with the fork itself is said once, not for each of its inputs."""
    fork_ = {
        "forkTaskWorkflow": "double_and_one",
        "forkTaskWorkflowVersion": 0,
        "forkTaskInputs": [{"number": 1}] * 3,
    }
    assert problems(fork_) == ["forkTaskWorkflowVersion is 0, accepted: int | None, 1 or more"]


def test_shared_inputs_that_no_action_has_are_refused():
    """A typo among the inputs for all tasks is no silent nothing."""
    assert problems(fork(task("a")), shared={"txet": 1}) == [
        "params sets 'txet', accepted: mark, number, text"
    ]


def test_no_tasks_is_no_problem():
    """An empty fork is one that joins at once, as in Conductor."""
    assert read({}) == ()
    assert read({"dynamicTasks": [], "dynamicTasksInput": {}}) == ()
