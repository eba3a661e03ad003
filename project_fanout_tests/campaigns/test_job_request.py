"""Job requests, with the example that they come from."""

from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from project_fanout.campaigns.actions import ACTIONS as CAMPAIGN_ACTIONS
from project_fanout.campaigns.assets import job_request
from project_fanout.engine import FanoutPolicy
from project_fanout.engine.errors import ToleranceExceededError
from project_fanout.forks.actions import Action, Actions
from project_fanout.forks.job_request import InvalidRequestError, read_request, read_text
from project_fanout.forks.request_asset import build_request_asset
from project_fanout.orchestration import UnitPoolResource
from project_fanout_tests.campaigns import numbers
from project_fanout_tests.campaigns.servers import recipients_of
from project_fanout_tests.nightly import examples

AS_PRINTED = """
    action: prepare_recipients
    payload: campaign: 99, target_list: 42
    fanout: range(1, 100)
    next_actions: [send_emails]
"""
ACTIONS = Actions((numbers.double, Action("count", [numbers.spread, numbers.double]), numbers.fail_on))
INLINE = {"unit_pool": UnitPoolResource(kind="inline")}


def run(asset: dg.AssetsDefinition, **config: Any) -> pd.DataFrame:
    name = asset.node_def.name
    result = dg.materialize_to_memory(
        [asset], run_config={"ops": {name: {"config": config}}}, resources=INLINE
    )
    frame: pd.DataFrame = result.output_for_node(name)
    return frame


def test_the_request_as_it_is_printed() -> None:
    """The text of the request is read as it stands: 100 tasks, the second job's action after the first's."""
    request = read_text(AS_PRINTED)
    assert request == {
        "action": "prepare_recipients",
        "payload": {"campaign": 99, "target_list": 42},
        "fanout": "range(1, 100)",
        "next_actions": ["send_emails"],
    }
    registry = Actions(tuple(CAMPAIGN_ACTIONS), {}, {"mail_server": None})
    records = list(read_request(request, registry, FanoutPolicy()))
    assert [record.key for record in records] == [f"task_{number}" for number in range(1, 101)]
    assert [record.units[0].payload for record in records] == list(range(1, 101))
    plan = records[0].plan
    assert plan is not None
    assert [planned.stage.name for planned in plan.stages] == ["prepare_recipients", "send_emails"]
    assert read_text("action_chain:[prepare_email, send_email]") == {
        "action_chain": ["prepare_email", "send_email"]
    }


def test_a_field_is_given_once() -> None:
    """Of two actions in the text of a request none is dropped in silence."""
    with pytest.raises(InvalidRequestError, match="action is given twice, the second time as 'send_emails'"):
        read_text("action: prepare_recipients\naction: send_emails")


@pytest.fixture
def target_list(tmp_path: Path) -> dict[str, Any]:
    """Return the payload for a list of 40 recipients in pages of 2."""
    rows = "\n".join(f"reader{row}@post.example,R {row},Bonn" for row in range(1, 41))
    (tmp_path / "42.csv").write_text(f"email,name,city\n{rows}\n")
    return {
        "campaign": 99,
        "target_list": 42,
        "source": str(tmp_path / "{target_list}.csv"),
        "page_size": 2,
        "output_dir": str(tmp_path),
    }


def everybody(count: int) -> dict[str, int]:
    return {f"reader{row}@post.example": 1 for row in range(1, count + 1)}


def test_the_request_runs(tmp_path: Path, target_list: dict[str, Any]) -> None:
    """The request sends real mail: 20 of its tasks, at night 100, have a page of the list, the others nothing to do."""
    frame = run(
        job_request,
        action="prepare_recipients",
        payload=target_list,
        fanout=f"range(1, {examples(25, at_night=100)})",
        next_actions=["send_emails"],
    )
    assert (frame["stage"].unique().tolist(), len(frame)) == (["send_emails"], 20)
    assert frame["status"].eq("succeeded").all()
    assert recipients_of(tmp_path / "maildir") == everybody(40)


def test_the_short_form_runs_from_text(tmp_path: Path, target_list: dict[str, Any]) -> None:
    """The short form does the same, also when the request is given as text."""
    payload = ", ".join(f"{name}: '{value}'" for name, value in target_list.items())
    text = f"action_chain:[prepare_email, send_email]\npayload: {payload}\nfanout: range(1, 10)"
    assert run(job_request, request=text)["status"].eq("succeeded").all()
    assert recipients_of(tmp_path / "maildir") == everybody(20)


def test_without_a_request_nothing_is_done() -> None:
    """The asset materialises without run config: no task, an empty table."""
    assert run(job_request).empty


@pytest.mark.parametrize(
    ("fanout", "keys", "payloads"),
    [
        ("range(1, 3)", ["1", "2", "3"], [1, 2, 3]),
        ("range(5,5)", ["5"], [5]),
        ("range(-1, 0)", ["-1", "0"], [-1, 0]),
        ({"foreach": ["b", "a"]}, ["b", "a"], ["b", "a"]),
        ("foreach(b, a)", ["b", "a"], ["b", "a"]),
        (["x", "x"], ["1", "2"], ["x", "x"]),
        ({"foreach": [{"id": 7}]}, ["{'id': 7}"], [{"id": 7}]),
        ({"foreach": []}, [], []),
    ],
)
def test_what_a_request_fans_out_over(fanout: Any, keys: list[str], payloads: list[Any]) -> None:
    """A range counts both ends; a list has a task for each item, in its order."""
    records = list(read_request({"action": "double", "fanout": fanout}, ACTIONS, FanoutPolicy()))
    assert [record.units[0].key for record in records] == keys
    assert [record.units[0].payload for record in records] == payloads


@pytest.mark.parametrize(
    ("request_", "messages"),
    [
        ({"action": "doubel"}, ["action 'doubel' is not registered, accepted: 'double', 'count', 'fail_on'"]),
        ({"fanout": "range(1, 3)"}, ["action is missing"]),
        (
            {"action": "double", "fanout": "1 to 3", "payload": {"by": 3, "too": 4}},
            [
                "fanout is '1 to 3', accepted: range(first, last)",
                "payload has 'too', accepted by these actions: by",
            ],
        ),
        (
            {"action": "double", "payload": {"by": "many"}},
            ["payload for double: by is 'many', accepted: int"],
        ),
        ({"action": "double", "action_chain": ["count"]}, ["action_chain is given beside"]),
        ({"action": "double", "next_actions": "count"}, ["next_actions is 'count', accepted: list[str]"]),
        ({"action": "double", "payload": [1]}, ["payload is [1], accepted: dict[str, Any]"]),
        ({"next_actions": ["double"]}, ["next_actions is given without action: name the first action"]),
        ({"action": ["double", 5]}, ["action.1 is 5: Input should be a valid string"]),
        ({"action": "double", "fanout": "range(1, 0)"}, ["fanout is range(1, 0), which has no number"]),
        (
            {"action": "double", "fanout": {"foreach": [1, float("nan")]}},
            ["fanout[1] is nan, which is not JSON"],
        ),
        (
            {"action": "double", "fanout": "foreach(a, 2026-01-02)"},
            ["fanout[1] is a datetime.date, which is not JSON"],
        ),
        ({"action": "double", "fanout": ["\ud800"]}, ["half of a surrogate pair"]),
        (
            {"action": "doubel", "fanout": "foreach({a)"},
            ["cannot be read", "action 'doubel' is not registered"],
        ),
    ],
)
def test_a_request_that_cannot_be_started_is_refused(request_: Any, messages: list[str]) -> None:
    """Before any task runs, everything that is wrong is said in one message, with what is accepted."""
    with pytest.raises(InvalidRequestError) as refused:
        read_request(request_, ACTIONS, FanoutPolicy())
    for message in messages:
        assert message in str(refused.value)


@pytest.mark.parametrize(
    ("fanout", "policy", "message"),
    [
        (
            "range(1, 100000000000000000)",
            FanoutPolicy(),
            "100,000 or fewer, the most that a request may have",
        ),
        ("range(1, 100001)", FanoutPolicy(max_records=1_000_000), "with 100,001 tasks, accepted: 100,000 or"),
        ("range(1, 100000000000000000)", FanoutPolicy(max_records=10), "accepted: 10 or fewer, max_records"),
        (["x"] * 11, FanoutPolicy(max_records=10), "fanout is a list with 11 tasks, accepted: 10 or fewer"),
    ],
)
def test_a_request_for_too_many_tasks_is_refused_at_once(
    fanout: Any, policy: FanoutPolicy, message: str
) -> None:
    """How many tasks there would be is compared with the limit before any is made, and the limit is named."""
    with pytest.raises(InvalidRequestError, match=message):
        read_request({"action": "double", "fanout": fanout}, ACTIONS, policy)


def test_several_actions_are_a_chain() -> None:
    """A list of actions starts a chain like action_chain, and next_actions follow it."""
    for request in (
        {"action": ["double", "count"]},
        {"action_chain": ["double", "count"]},
        {"action": "double", "next_actions": ["count"]},
    ):
        [record] = read_request(request, ACTIONS, FanoutPolicy())
        assert record.plan is not None
        assert [planned.stage.name for planned in record.plan.stages] == ["double", "spread", "double"]


def test_the_run_is_refused_before_its_first_step() -> None:
    """A request that cannot be started is refused with the run config, under the asset's name."""
    with pytest.raises(dg.DagsterError, match="ops: job_request: config: action 'nobody' is not registered"):
        run(job_request, action="prepare_email", next_actions=["nobody"])
    with pytest.raises(dg.DagsterError, match="priority is not supported here, accepted: action, payload"):
        run(job_request, request="action: prepare_email\npriority: 1")
    with pytest.raises(dg.DagsterError, match="request is given beside action"):
        run(job_request, request="action: prepare_email", action="send_email")
    with pytest.raises(
        dg.DagsterError, match=r"fanout is range\(1, 999999999999\) with 999,999,999,999 tasks"
    ):
        run(job_request, action="prepare_email", fanout="range(1, 999999999999)")


def test_what_a_campaigns_action_cannot_work_on_is_said(target_list: dict[str, Any]) -> None:
    """A page number below 1, and a batch that nobody has prepared, are named with what is accepted."""
    with pytest.raises(ToleranceExceededError, match="is for 0, accepted: the number of a page, 1 or more"):
        run(job_request, action="prepare_recipients", payload=target_list, fanout="range(0, 0)")
    with pytest.raises(
        ToleranceExceededError, match="was given 1, which is no prepared batch: let it follow prepare_"
    ):
        run(job_request, action="send_emails", payload={"campaign": 99}, fanout="range(1, 1)")


numbers_request = build_request_asset(
    "numbers_request",
    actions=[numbers.double, Action("spread", [numbers.spread]), numbers.fail_on],
    policy=FanoutPolicy(max_failed_ratio=1.0),
)


def test_ten_jobs_in_a_chain() -> None:
    """A value goes through ten jobs, one after the other."""
    frame = run(numbers_request, action_chain=["double"] * 10, fanout="range(1, 3)", payload={"by": 2})
    assert frame["value"].tolist() == [1024, 2048, 3072]


def test_a_task_may_fan_out_to_none_one_or_ten_thousand() -> None:
    """The second job has as many tasks as the first one's gave it, in their order."""
    frame = run(numbers_request, action_chain=["spread", "double"], fanout={"foreach": [0, 1, 10_000]})
    assert frame["record_key"].value_counts().to_dict() == {"task_10000": 10_000, "task_1": 1}
    assert frame["value"].tolist() == [0, *(2 * number for number in range(10_000))]


@pytest.mark.slow
def test_the_printed_request_in_its_size() -> None:
    """100 tasks with 100 recipients each, at night 1,000: the second job has a task, and a row, for each."""
    asset = build_request_asset(
        "in_its_size",
        actions=[
            Action("prepare_recipients", [numbers.page]),
            Action("send_emails", [numbers.sent]),
        ],
    )
    frame = run(asset, request=AS_PRINTED)
    assert frame["record_key"].value_counts().to_dict() == {
        f"task_{page}": numbers.RECIPIENTS for page in range(1, 101)
    }
    assert frame["recipient"].tolist() == list(range(1, 100 * numbers.RECIPIENTS + 1))


def test_a_failed_task_does_not_keep_the_others_from_the_next_job() -> None:
    """The first job's failure is a row of its own; the other tasks' second job runs, and the fan-in happens."""
    frame = run(
        numbers_request, action_chain=["fail_on", "double"], fanout="range(1, 4)", payload={"number": 2}
    )
    assert frame["record_key"].tolist() == ["task_1", "task_2", "task_3", "task_4"]
    assert frame["status"].tolist() == ["succeeded", "failed", "succeeded", "succeeded"]
    assert frame["stage"].tolist() == ["double", "fail_on", "double", "double"]
    assert frame["value"].dropna().tolist() == [2, 6, 8]
