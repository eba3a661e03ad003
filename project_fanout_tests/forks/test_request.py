"""Reading a fork: what is accepted, and everything that is wrong said at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
            "('a'): startDelay is 5, which is not supported here, accepted: 0 or null; a task starts as soon as",
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
        (
            fork(task("a", retryCnt=1)),
            "('a'): retryCnt is not supported here, accepted: taskReferenceName, name",
        ),
        (
            fork(task("a", type="SUB_WORKFLOW", subWorkflowParam={"nme": "double"})),
            "('a'): subWorkflowParam.nme is not supported here, accepted: name, version",
        ),
        (
            fork(task("a"), optional=True),
            "optional is True, which goes with forkTaskName and forkTaskWorkflow alone: give it to each task of",
        ),
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


#: Fields of its WorkflowTask that are null, or an empty list, where nobody has set them.
NULLS = [
    "description",
    "dynamicTaskNameParam",
    "caseValueParam",
    "caseExpression",
    "scriptExpression",
    "dynamicForkJoinTasksParam",
    "dynamicForkTasksParam",
    "dynamicForkTasksInputParamName",
    "subWorkflowParam",
    "sink",
    "taskDefinition",
    "rateLimited",
    "loopCondition",
    "retryCount",
    "evaluatorType",
    "expression",
    "joinStatus",
    "cacheConfig",
    "items",
]
LISTS = ["defaultCase", "forkTasks", "joinOn", "defaultExclusiveJoinTask", "loopOver"]


def unset(**others):
    """A task as Conductor writes it, every field of its WorkflowTask at its default, and *others*."""
    return {
        **dict.fromkeys(NULLS),
        **{name: [] for name in LISTS},
        "name": "double",
        "taskReferenceName": "a",
        "type": "SIMPLE",
        "inputParameters": {},
        "decisionCases": {},
        "onStateChange": {},
        "startDelay": 0,
        "optional": False,
        "asyncComplete": False,
        "permissive": False,
        **others,
    }


#: Fields of a task that mean something here, with a value that is no default; its meaning is told by `read`.
MEANT = {
    "name": "shout",
    "taskReferenceName": "b",
    "description": "doubles it",
    "inputParameters": {"number": 7},
    "type": "CUSTOM",
    "subWorkflowParam": {"name": "double_and_one"},
    "optional": True,
    "permissive": True,
    "retryCount": 3,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(left_out=st.sets(st.sampled_from(sorted(set(unset()) - {"name", "taskReferenceName"}))))
def test_a_task_as_conductor_writes_it(left_out):
    """Fields at Conductor's defaults say nothing, whichever of them a version of it writes."""
    document = {name: value for name, value in unset().items() if name not in left_out}
    [record] = read(fork(document))
    [plain] = read(fork(task("a")))
    assert (record.plan, record.units) == (plain.plan, plain.units)


@given(name=st.sampled_from(sorted(set(unset()) - set(MEANT))), value=JSON)
def test_what_conductor_would_do_and_this_does_not_is_refused_by_name(name, value):
    """Any other value of such a field is refused, once, with the field, what is accepted and what to do."""
    default = unset()[name]
    says_nothing = value is None or (
        isinstance(value, bool) == isinstance(default, bool) and value == default
    )
    if says_nothing or (name, value) == ("rateLimited", False):
        assert len(read(fork(unset(**{name: value})))) == 1
        return
    [said] = problems(fork(unset(**{name: value})))
    assert said.startswith(f"dynamicTasks[0] ('a'): {name} is ")
    what, instead = said.rsplit("; ", 1)
    assert "not supported here, accepted: " in what
    assert instead


@pytest.mark.parametrize(
    ("given_", "seen"),
    [
        ({"optional": True}, lambda record: record.plan.optional),
        ({"retryCount": 3}, lambda record: record.plan.policy.max_attempts == 4),
        ({"inputParameters": {"number": 7}}, lambda record: dict(record.units[0].payload) == {"number": 7}),
        ({"type": "CUSTOM"}, lambda record: record.plan.action == "double version 1"),
        ({"name": "double_and_one"}, lambda record: record.plan.action == "double_and_one version 3"),
        ({"taskReferenceName": "b"}, lambda record: record.key == "b"),
        ({"permissive": True}, lambda record: not record.plan.optional),
        ({"description": "what it is for"}, lambda record: record.key == "a"),
        (
            {"type": "SUB_WORKFLOW", "subWorkflowParam": {"name": "double_and_one", "version": 1}},
            lambda record: record.plan.action == "double_and_one version 1",
        ),
    ],
)
def test_the_fields_that_mean_what_they_say(given_, seen):
    """Beside the defaults of all others, each of them does what it does in Conductor."""
    document = unset(**given_)
    inputs = {} if document["inputParameters"] else {document["taskReferenceName"]: {"number": 1}}
    [record] = read({"dynamicTasks": [document], "dynamicTasksInput": inputs})
    assert seen(record)


@pytest.mark.parametrize(
    ("name", "default", "other"),
    [
        ("taskToDomain", {}, {"*": "fast"}),
        ("workflowDefinition", None, {"name": "double", "tasks": []}),
        ("idempotencyKey", None, "a"),
        ("idempotencyStrategy", None, "FAIL"),
        ("priority", 0, 5),
    ],
)
def test_the_fields_of_a_sub_workflow(name, default, other):
    """The same holds inside subWorkflowParam."""

    def asking(value):
        workflow = {"name": "double_and_one", "version": None, name: value}
        return fork(unset(type="SUB_WORKFLOW", subWorkflowParam=workflow))

    assert read(asking(default))[0].plan.action == read(asking(None))[0].plan.action
    [said] = problems(asking(other))
    assert f"subWorkflowParam.{name} is {other!r}, which is not supported here" in said


def test_optional_for_every_task_of_a_list():
    """The fork's own optional is that of each task which it makes of forkTaskInputs, as in Conductor."""
    for form in ({"forkTaskName": "double"}, {"forkTaskWorkflow": "double_and_one"}):
        for given_, optional in ((True, True), ("true", True), (False, False), (None, False)):
            records = read({**form, "forkTaskInputs": [{"number": 1}] * 2, "optional": given_})
            assert [record.plan.optional for record in records] == [optional] * 2


def numbered(unit, *, number: int, __index: int) -> dict:
    return {"number": number, "at": __index}


def test_the_index_of_each_task_of_a_list():
    """Conductor's __index is an input of who takes it, wins over one that is given, and is left out for others."""
    actions = Actions([double, numbered])
    for name, taken in (("double", [{}, {}]), ("numbered", [{"__index": 0}, {"__index": 1}])):
        form = {"forkTaskName": name, "forkTaskInputs": [{"number": 1}, {"number": 2, "__index": 9}]}
        records = read(form, actions=actions)
        expected = [{"number": number + 1, **index} for number, index in enumerate(taken)]
        assert [record.units[0].payload for record in records] == expected
        assert [dict(record.plan.stages[0].params) for record in records] == expected


@pytest.mark.parametrize(
    ("field", "wrong", "said"),
    [
        ("name", "treble", "the task 'treble' is not registered"),
        ("type", "HTTP", "type is 'HTTP'"),
        ("retryCount", -1, "retryCount is -1"),
        ("timeoutSeconds", "soon", "timeoutSeconds is 'soon'"),
        ("optional", "perhaps", "optional is 'perhaps'"),
        ("startDelay", 5, "startDelay is 5"),
        ("retryCnt", 5, "retryCnt is not supported here"),
        ("inputParameters", [1], "inputParameters is [1]"),
        ("description", 5, "description is 5"),
        ("permissive", "no way", "permissive is 'no way'"),
    ],
)
def test_no_fault_of_a_task_hides_another(field, wrong, said):
    """Beside any mistake in a task the others in it are said as well: its name, its inputs, its policy."""
    others = (
        {"timeoutSeconds": -1, "optional": "perhaps"} if field != "timeoutSeconds" else {"retryCount": -1}
    )
    document = {**task("a"), **others, field: wrong}
    found = problems(fork(document, inputs={"a": {"number": "many"}}, joinOn=["gone"]))
    expected = [said, "joinOn names 'gone'", *(f"{name} is {value!r}" for name, value in others.items())]
    if field != "name":
        expected.append("number is 'many'")
    for each in expected:
        assert any(each in problem for problem in found), (each, found)


def test_one_cause_is_said_once():
    """A mistake in thousands of tasks is one line, with the first places and how many more there are."""
    many = range(5_000)
    for request, said in [
        (
            {"forkTaskName": "treble", "forkTaskInputs": [{"number": 1} for _ in many]},
            "forkTaskName: the task 'treble' is not registered",
        ),
        (
            {"forkTaskWorkflow": "treble", "forkTaskInputs": [{"number": 1} for _ in many]},
            "forkTaskWorkflow: the workflow 'treble' is not registered",
        ),
        (
            {"forkTaskName": "double", "forkTaskInputs": [{"number": f"n{each}"} for each in many]},
            "forkTaskInputs[4] and 4,995 more: number is 'n0', accepted: int",
        ),
        (
            {"forkTaskName": "double", "forkTaskInputs": [str(each) for each in many]},
            "forkTaskInputs[4] and 4,995 more: is '0', accepted: a map of inputs, of which double version 1 has: ",
        ),
        (
            fork(*(task(str(each), name="treble") for each in many)),
            "dynamicTasks[4] ('4') and 4,995 more: the task 'treble' is not registered",
        ),
        (
            fork(*(task(str(each), startDelay=each + 1) for each in many)),
            "dynamicTasks[4] ('4') and 4,995 more: startDelay is 1, which is not supported here",
        ),
        (fork(*(task(str(each)) for each in many), inputs={}), "and 4,995 more: has no inputs"),
        (fork(*(task(str(each // 2)) for each in many)), "each task needs its own; and 2,499 more like it"),
        (
            fork(task("a"), inputs={"a": {"number": 1}, **{f"b{each}": {} for each in many}}),
            "dynamicTasksInput has inputs for 'b0', 'b1', 'b2', 'b3', 'b4' and 4,995 more, and no task has",
        ),
    ]:
        [problem] = problems(request)
        assert said in problem
        assert len(problem) < 600


def test_a_cause_is_said_where_it_was_written():
    """An input that all tasks share is wrong among those, not in each task; a value is shown by its beginning."""
    assert problems(fork(task("a"), task("b"), inputs={}), shared={"number": "x"}) == [
        "params: number is 'x', accepted: int (Input should be a valid integer, unable to parse string as an integer)"
    ]
    [said] = problems(fork(task("a"), inputs={"a": {"number": float("inf")}}))
    assert said.startswith("dynamicTasks[0] ('a'): number is inf, accepted: int")
    [said] = problems(fork(task("\ud800")))
    assert "taskReferenceName is '\\ud800', accepted: str" in said
    [said] = problems(fork(task("a", startDelay="x" * 10_000)))
    assert len(said) < 500
    for said in problems({"forkTaskName": "double", "forkTaskInputs": [{"number": "x"}], "optional": 7}):
        assert "dynamicTasks" not in said


@pytest.mark.parametrize("wrong", [True, False])
@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (lambda wrong: fork(task("a", retryCount=wrong)), "retryCount"),
        (lambda wrong: fork(task("a", timeoutSeconds=wrong)), "timeoutSeconds"),
        (lambda wrong: fork(task("a", startDelay=wrong)), "startDelay"),
        (lambda wrong: fork(task("a"), inputs={"a": {"number": wrong}}), "number"),
        (lambda wrong: fork(task("a", inputParameters={"number": wrong}), inputs={}), "number"),
        (
            lambda wrong: fork(
                task("a", type="SUB_WORKFLOW", subWorkflowParam={"name": "double_and_one", "version": wrong})
            ),
            "subWorkflowParam.version",
        ),
        (
            lambda wrong: {
                "forkTaskWorkflow": "double_and_one",
                "forkTaskWorkflowVersion": wrong,
                "forkTaskInputs": [],
            },
            "forkTaskWorkflowVersion",
        ),
        (lambda wrong: {"forkTaskName": "double", "forkTaskInputs": [{"number": wrong}]}, "number"),
    ],
)
def test_a_boolean_is_no_number(request_, name, wrong):
    """True is not taken for 1, nor false for 0, in any number of a request."""
    [said] = problems(request_(wrong))
    assert f"{name} is {wrong}, " in said


def test_a_task_needs_no_entry_for_inputs_that_it_has():
    """Without an entry, or with null, a task runs if it needs no inputs, or those that all tasks share are enough."""
    actions = Actions([double, add_one, shout])
    for entry in ({}, {"a": None}, {"a": {}}):
        [record] = read(fork(task("a", name="add_one"), inputs=entry), actions=actions)
        assert (record.units[0].payload, len(record.plan.stages)) == ({}, 1)
        [record] = read(fork(task("a"), inputs=entry), shared={"number": "3"})
        assert dict(record.plan.stages[0].params) == {"number": 3}
    assert len(read({"dynamicTasks": [task("a", name="add_one")]}, actions=actions)) == 1
