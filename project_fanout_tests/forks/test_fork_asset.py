"""Fork assets in Dagster: what runs, what is joined, what fails."""

import pickle
from collections import Counter

import dagster as dg
import pytest

from project_fanout.engine import FanoutPolicy, Record, Unit
from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.forks.actions import Action, Actions
from project_fanout.forks.fork_asset import build_fork_asset
from project_fanout.forks.join import JoinFailedError
from project_fanout.forks.request import read_fork
from project_fanout.forks.request_asset import build_request_asset
from project_fanout.orchestration import UnitPoolResource, build_fanout_asset
from project_fanout.orchestration.run_config import InvalidRunConfigError
from project_fanout_tests.forks import jobs
from project_fanout_tests.forks.fork_stages import (
    add_one,
    count_letters,
    double,
    fail,
    hang,
    leave_mark,
    make_lock,
    shout,
    split_words,
    succeed_at,
)
from project_fanout_tests.forks.jobs import stored
from project_fanout_tests.instances import local_instance
from project_fanout_tests.nightly import examples

ACTIONS = [
    double,
    shout,
    fail,
    hang,
    leave_mark,
    succeed_at,
    make_lock,
    Action("double_and_one", [double, add_one]),
    Action("letters", [split_words, count_letters], version=2),
]
fork = build_fork_asset("fork", actions=ACTIONS)


def materialize(asset, config=None, *, pool="inline", raise_on_error=True, **options):
    name = asset.key.to_user_string()
    return dg.materialize(
        [asset],
        resources={"unit_pool": UnitPoolResource(kind=pool)},
        run_config={"ops": {name: {"config": config or {}}}},
        raise_on_error=raise_on_error,
        **options,
    )


def tasks(*entries):
    """Run config for *entries*, each (reference, action, inputs, further fields)."""
    return {
        "dynamicTasks": [
            {"name": action, "taskReferenceName": reference, **(fields[0] if fields else {})}
            for reference, action, _, *fields in entries
        ],
        "dynamicTasksInput": {reference: inputs for reference, _, inputs, *_ in entries},
    }


def failure(result):
    """The error of the join."""
    [event] = [event for event in result.all_events if event.is_step_failure]
    assert event.step_key.endswith("collect_records")
    return event.step_failure_data.error.cause or event.step_failure_data.error


def check_of(result):
    [evaluation] = result.get_asset_check_evaluations()
    return evaluation


def test_tasks_that_differ_are_joined_by_reference():
    """Simple tasks, chains and stages that fan out, side by side: one step each, joined in the order given."""
    result = materialize(
        fork,
        tasks(
            ("z", "double", {"number": "4"}),
            ("a", "letters", {"text": "one three", "at_least": 4}),
            (
                "m",
                None,
                {"number": 5},
                {"type": "SUB_WORKFLOW", "subWorkflowParam": {"name": "double_and_one", "version": "1"}},
            ),
            ("Über/..", "shout", {"text": "hi"}),
        ),
    )
    join = result.output_for_node("fork")
    assert list(join) == ["z", "a", "m", "Über/.."]
    assert {task["status"] for task in join.values()} == {"COMPLETED"}
    assert [task["output"] for task in join.values()] == [
        {"number": 8},
        {"0-one": 4, "1-three": 5},
        {"number": 11},
        {"text": "HI!"},
    ]
    steps = {event.step_key for event in result.all_events if event.is_step_success}
    assert {f"fork.record.process_record[{key}]" for key in "zam"} < steps
    assert check_of(result).passed
    metadata = result.asset_materializations_for_node("fork.collect_records")[0].metadata
    assert metadata["COMPLETED"].value == 4
    assert "| z" in metadata["tasks"].value


def test_an_optional_task_may_fail():
    """The join completes without it, and says so in the task's status, in the metadata and in the check."""
    result = materialize(
        fork, tasks(("a", "double", {"number": 1}), ("b", "fail", {"reason": "no luck"}, {"optional": True}))
    )
    join = result.output_for_node("fork")
    assert [task["status"] for task in join.values()] == ["COMPLETED", "COMPLETED_WITH_ERRORS"]
    assert join["b"]["output"] is None
    assert "ValueError: no luck" in join["b"]["reasonForIncompletion"]
    assert not check_of(result).passed
    metadata = result.asset_materializations_for_node("fork.collect_records")[0].metadata
    assert metadata["COMPLETED_WITH_ERRORS"].value == 1


def test_a_required_task_fails_the_join(tmp_path):
    """Its siblings finish first, also those that come later; then the join fails and names it."""
    marks = {"folder": str(tmp_path)}
    result = materialize(
        fork,
        tasks(
            ("before", "leave_mark", marks),
            ("bad", "fail", {"reason": "no luck"}),
            ("luckless", "fail", {}, {"optional": True}),
            ("after", "leave_mark", marks),
        ),
        raise_on_error=False,
    )
    assert not result.success
    assert {path.name for path in tmp_path.iterdir()} == {"before", "after"}
    said = failure(result).message
    assert "1 of 3 required tasks did not complete" in said
    assert "'bad' (fail version 1): FAILED, failed in fail after 1 attempt: ValueError: no luck" in said
    assert "luckless" not in said
    assert not result.asset_materializations_for_node("fork.collect_records")
    [observation] = [
        event.asset_observation_data.asset_observation
        for event in result.all_events
        if event.is_asset_observation
    ]
    assert observation.description == (
        "Not materialized. The join failed: 1 of 3 required tasks did not complete."
    )
    assert not check_of(result).passed
    for metadata in (observation.metadata, check_of(result).metadata):
        assert "ValueError: no luck" in metadata["failures"].value


def test_a_hung_task_times_out_and_is_tried_again(tmp_path):
    """A task's timeoutSeconds kills an attempt, retryCount gives more of them, each task's own."""
    result = materialize(
        fork,
        tasks(
            ("slow", "hang", {"folder": str(tmp_path)}, {"timeoutSeconds": 0.3, "retryCount": 1}),
            ("third", "succeed_at", {"folder": str(tmp_path), "attempt": 3}, {"retryCount": 2}),
            (
                "never",
                "succeed_at",
                {"folder": str(tmp_path), "attempt": 3},
                {"retryCount": 1, "optional": True},
            ),
        )
        | {"policy": {"retry_delay_s": 0.01}},
        pool="process",
        raise_on_error=False,
    )
    assert len(list(tmp_path.glob("slow.*"))) == 2
    assert len(list(tmp_path.glob("third.*"))) == 3
    assert len(list(tmp_path.glob("never.*"))) == 2
    said = failure(result).message
    assert "1 of 2 required tasks" in said
    assert "'slow' (hang version 1): TIMED_OUT, timed_out in hang after 2 attempts" in said


def test_join_on_takes_some():
    """All tasks run; the join holds those that joinOn names, in the order of the tasks."""
    config = tasks(*((each, "double", {"number": 1}) for each in "abc")) | {"joinOn": ["c", "a"]}
    result = materialize(fork, config)
    assert list(result.output_for_node("fork")) == ["a", "c"]
    assert (
        sum("process_record" in event.step_key for event in result.all_events if event.is_step_success) == 3
    )


@pytest.mark.parametrize(
    ("form", "references"),
    [
        ({"forkTaskName": "double"}, ["_double_0", "_double_1"]),
        ({"forkTaskWorkflow": "double_and_one", "forkTaskWorkflowVersion": "1"}, ["_fork_0", "_fork_1"]),
    ],
)
def test_one_task_for_a_list_of_inputs(form, references):
    """The form with forkTaskInputs: one task per entry."""
    join = materialize(fork, {**form, "forkTaskInputs": [{"number": 1}, {"number": 2}]}).output_for_node(
        "fork"
    )
    assert list(join) == references
    assert [task["output"]["number"] - (task["action"] != "double version 1") for task in join.values()] == [
        2,
        4,
    ]


def test_what_cannot_run_is_refused_before_any_step(tmp_path):
    """All that is wrong with the run config is in one message, and not one step has begun."""
    with dg.DagsterInstance.ephemeral() as instance:
        with pytest.raises(InvalidRunConfigError) as refused:
            materialize(
                fork,
                tasks(
                    ("a", "leave_mark", {"folder": str(tmp_path)}),
                    ("a", "double", {"number": "x"}),
                    ("b", "treble", {}),
                )
                | {"joinOn": ["c"], "params": {"nmber": 1}},
                instance=instance,
            )
        assert instance.get_runs_count() == 0
    said = str(refused.value)
    assert "ops: fork: config: 6 problems" in said
    for each in (
        "'a' is given to",
        "number is 'x'",
        "'treble' is not registered",
        "joinOn names 'c'",
        "'nmber'",
    ):
        assert each in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asset", "config", "said"),
    [
        (fork, {"forkTaskName": "treble", "forkTaskInputs": [{}]}, "forkTaskName: the task 'treble' is not"),
        (
            build_request_asset("request", actions=ACTIONS),
            {"action": "treble"},
            "action 'treble' is not registered",
        ),
    ],
)
def test_a_wrong_policy_hides_no_wrong_request(asset, config, said):
    """What is wrong with the policy and with the request itself is in one message."""
    with pytest.raises(InvalidRunConfigError) as refused:
        materialize(asset, {**config, "policy": {"max_attempts": 0}})
    assert "max_attempts is 0" in str(refused.value)
    assert said in str(refused.value)


def test_every_task_of_a_list_may_be_optional():
    """With the fork's optional no failure of a task fails the join."""
    result = materialize(fork, {"forkTaskName": "fail", "forkTaskInputs": [{}, {}], "optional": True})
    assert {task["status"] for task in result.output_for_node("fork").values()} == {"COMPLETED_WITH_ERRORS"}


def test_a_result_that_cannot_travel_fails_its_task():
    """What a task returns is data; anything else is that task's failure."""
    result = materialize(fork, tasks(("a", "make_lock", {"number": 1}, {"optional": True})))
    assert "_thread.lock, which cannot travel" in result.output_for_node("fork")["a"]["reasonForIncompletion"]


@pytest.mark.slow
def test_many_tasks_of_three_kinds(tmp_path):
    """Every reference is in the join once, in the order given, with the output of its own kind: 100, at night 500."""
    count = examples(100, at_night=500)
    kinds = [("double", {"number": 7}), ("shout", {"text": "hi"}), ("double_and_one", {"number": 7})]
    entries = [(f"task_{count - 1 - index:03}", *kinds[index % 3]) for index in range(count)]
    with (
        local_instance(tmp_path) as instance,
        dg.execute_job(
            dg.build_reconstructable_job(jobs.__name__, "many_tasks"),
            instance,
            run_config={"ops": {"many": {"config": tasks(*entries)}}},
        ) as result,
    ):
        join = stored(instance, "many")
        steps = [event.step_key for event in result.all_events if event.is_step_success]
    assert sum("process_record" in step for step in steps) == len(set(steps)) - 2 == count
    assert list(join) == [reference for reference, *_ in entries]
    outputs = {"double": {"number": 14}, "shout": {"text": "HI!"}, "double_and_one": {"number": 15}}
    assert all(join[reference]["output"] == outputs[name] for reference, name, _ in entries)
    assert {task["status"] for task in join.values()} == {"COMPLETED"}


def test_a_resumed_fork_runs_only_what_is_missing(tmp_path):
    """Executed again, a fork whose join has failed does just the stage that failed, and then joins."""
    marks = tmp_path / "marks"
    marks.mkdir()
    (marks / "broken").touch()
    fork_job = dg.build_reconstructable_job(jobs.__name__, "resumable")
    entries = [(name, "chain", {"folder": str(marks)}) for name in ("good", "bad")]
    with local_instance(tmp_path / "instance") as instance:
        config = {"ops": {"chains": {"config": tasks(*entries)}}}
        first = dg.execute_job(fork_job, instance, run_config=config)
        assert not first.success
        (marks / "broken").unlink()
        again = dg.ReexecutionOptions(parent_run_id=first.run_id)
        assert dg.execute_job(fork_job, instance, run_config=config, reexecution_options=again).success
        join = stored(instance, "chains")
    assert [task["status"] for task in join.values()] == ["COMPLETED", "COMPLETED"]
    started = Counter(path.name.rpartition(".")[0] for path in marks.iterdir())
    assert started == {"start.good": 1, "finish.good": 1, "start.bad": 1, "finish.bad": 2}


def test_without_run_config_it_is_an_empty_join():
    """A fork of nothing joins at once, so that a click on "Materialize all" does no harm."""
    result = dg.materialize_to_memory([fork])
    assert result.output_for_node("fork") == {}


def word_tasks(words: list[str], *, mark: str = "!") -> dict:
    """The task in front of the fork: one task per word of an upstream asset."""
    return {
        "dynamicTasks": [{"name": "shout", "taskReferenceName": word} for word in words],
        "dynamicTasksInput": {word: {"text": word, "mark": mark} for word in words},
        "joinOn": words[:1],
    }


def test_the_task_in_front_of_the_fork_takes_upstream_assets():
    """A function makes the tasks of what other assets hold, with params of its own."""

    @dg.asset
    def vocabulary() -> list[str]:
        return ["alpha", "beta"]

    shouts = build_fork_asset(
        "shouts", actions=[shout], tasks=word_tasks, ins={"words": vocabulary}, group_name="words"
    )
    result = dg.materialize_to_memory(
        [vocabulary, shouts], run_config={"ops": {"shouts": {"config": {"mark": "?"}}}}
    )
    assert {reference: task["output"] for reference, task in result.output_for_node("shouts").items()} == {
        "alpha": {"text": "ALPHA?"}
    }


def broken_tasks() -> dict:
    return {"dynamicTasks": [{"name": "shout", "taskReferenceName": "a"}, {"name": "shut"}]}


def test_a_task_in_front_of_the_fork_that_gives_nonsense():
    """What it returns is checked whole before the first task starts."""
    asset = build_fork_asset("broken", actions=[shout], tasks=broken_tasks)
    result = materialize(asset, raise_on_error=False)
    [failed] = [event for event in result.all_events if event.is_step_failure]
    assert failed.step_key == "broken.trigger_records"
    said = failed.step_failure_data.error.cause.message
    assert "3 problems" in said
    assert "dynamicTasks[0] ('a'): has no inputs; give it an entry in dynamicTasksInput with text" in said
    assert "dynamicTasks[1]: the task 'shut' is not registered" in said
    assert "dynamicTasks[1]: taskReferenceName is missing" in said


def test_inputs_for_all_tasks_in_code_and_per_run():
    """`params` of the asset replaces a default, `params` of the run config replaces that, a task's input both."""
    asset = build_fork_asset("marked", actions=[shout, double], params={"mark": "."})
    config = tasks(
        ("a", "shout", {"text": "a"}),
        ("b", "shout", {"text": "b", "mark": "-"}),
        ("c", "double", {"number": 1}),
    )
    texts = [
        [each["output"].get("text") for each in materialize(asset, made).output_for_node("marked").values()]
        for made in (config, {**config, "params": {"mark": "?"}})
    ]
    assert texts == [["A.", "B-", None], ["A?", "B-", None]]


def planned() -> list[Record]:
    """Two records with a plan of their own, and one without."""
    request = word_tasks(["one", "two"])
    own = read_fork(request, Actions([shout]), FanoutPolicy(), name="planned")
    return [*own, Record("plain", [Unit("plain", {"number": 1})])]


def test_a_record_of_any_fan_out_may_carry_its_own_stages():
    """Stages of its own are no matter of forks alone: beside records that follow the asset's, one may have some."""
    asset = build_fanout_asset("planned", records=planned, stages=[add_one, add_one])
    frame = dg.materialize_to_memory([asset]).output_for_node("planned")
    assert list(frame["stage"]) == ["shout", "shout", "add_one"]
    assert list(frame["text"])[:2] == ["ONE!", "TWO!"]
    assert list(frame["number"])[2] == 3


def params_as_param(*, params: dict) -> dict:
    return params


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"policy": FanoutPolicy(max_failed_ratio=0.5)}, "policy sets max_failed_ratio, .*optional"),
        ({"policy": FanoutPolicy(fail_fast=True)}, "policy sets fail_fast"),
        ({"params": {"marks": 1}}, "params sets 'marks', accepted: mark, text"),
        ({"tasks": params_as_param}, "params_as_param takes params"),
        ({"actions": [shout, shout]}, "two actions shout version 1"),
        ({"tasks": 5}, "5"),
    ],
)
def test_what_cannot_be_built(options, said):
    """A fork that cannot work is refused when it is built, with its name and what is wrong."""
    with pytest.raises(FanoutDefinitionError, match=rf"build_fork_asset\('x'\): .*{said}"):
        build_fork_asset("x", **{"actions": [shout], **options})


def test_the_error_of_a_join_survives_pickling():
    """It may have to travel between processes."""
    error = JoinFailedError("The join failed")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
