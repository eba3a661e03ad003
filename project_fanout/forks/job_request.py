"""Job requests: an action, its payload, what it fans out over, and the actions that follow."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from project_fanout.engine.errors import FanoutError, InvalidRecordError
from project_fanout.engine.model import Record, Unit, checked_key
from project_fanout.engine.plan import Plan, PlannedStage
from project_fanout.engine.policy import FanoutPolicy
from project_fanout.engine.values import to_json
from project_fanout.forks.actions import Actions, RegisteredAction, UnknownActionError
from project_fanout.forks.as_written import NotAsWrittenError, read_value
from project_fanout.forks.problems import Problems, shown, some
from project_fanout.forks.validation import usable_part

#: Most tasks of a request's first job: each is a step, and Dagster keeps several events of every step.
MOST_TASKS = 100_000

_RANGE = re.compile(r"range\(\s*(-?\d{1,18})\s*,\s*(-?\d{1,18})\s*\)")
_FOREACH = re.compile(r"foreach\((.*)\)", re.DOTALL)
_SPELLED = {None: "null", True: "true", False: "false"}
_ACCEPTED = "accepted: range(first, last) with both included, {foreach: [item, ...]}, or a list"


class InvalidRequestError(FanoutError):
    """A job request cannot be started; names everything that is wrong with it."""


def _in_list(names: Any) -> Any:
    return [names] if isinstance(names, str) else names


def _from_text(payload: Any) -> Any:
    return _mapping(payload) if isinstance(payload, str) else payload


class JobRequest(BaseModel):
    """A job request as it is given; see `read_request`."""

    model_config = ConfigDict(extra="forbid")
    action: Annotated[list[str], BeforeValidator(_in_list)] = []
    payload: Annotated[dict[str, Any], BeforeValidator(_from_text)] = {}
    fanout: Any = None
    next_actions: list[str] = []
    action_chain: list[str] = []


def read_text(text: str) -> dict[str, Any]:
    """Return a request written as lines of `field: value`.

    A payload may be written without braces, as in `payload: campaign: 99, target_list: 42`.

    Raises:
        InvalidRequestError: a line is none, its field is given before, or its value cannot be read; names each.
    """
    request: dict[str, Any] = {}
    problems = Problems()
    for line in filter(None, map(str.strip, text.splitlines())):
        match = re.fullmatch(r"(\w+)\s*:\s*(.*)", line)
        if match is None:
            problems.add(f"{shown(line)} is not a line of a request: write `field: value`")
        elif match[1] in request:
            problems.add(f"{match[1]} is given twice, the second time as {shown(match[2])}: remove one")
        else:
            request[match[1]] = None
            try:
                request[match[1]] = _field(match[1], match[2])
            except NotAsWrittenError as error:
                problems.add(str(error), match[1])
    if problems:
        raise InvalidRequestError("; ".join(problems) + ".")
    return request


def _field(name: str, text: str) -> Any:
    if name == "payload":
        return _mapping(text)
    if name == "fanout" and (_RANGE.fullmatch(text) or _FOREACH.fullmatch(text)):
        return text
    return read_value(text) if text else None


def read_request(request: Mapping[str, Any], actions: Actions, policy: FanoutPolicy) -> Iterator[Record]:
    """Check *request* and return an iterator over a record per task, with the stages of all its actions.

    The payload's values are the inputs of the actions, each action's those that it has. A task's unit has the
    item as its payload, and the item as text as its key.

    Args:
        request: `action` (one name, or several as a chain), `payload`, `fanout`, `next_actions`, or
            `action_chain` instead of first and last. An empty request has no tasks.
        actions: what it may name.
        policy: how its tasks run; its max_records, or else `MOST_TASKS`, is checked before any is made.

    Raises:
        InvalidRequestError: names all problems.
    """
    given = {name: value for name, value in request.items() if value is not None}
    problems = Problems()
    read, wrong = usable_part(JobRequest, given, problems)
    if "action_chain" in given and ("action" in given or "next_actions" in given):
        problems.add("action_chain is given beside action or next_actions: it stands for both")
    if "next_actions" in given and "action" not in given:
        problems.add("next_actions is given without action: name the first action, or give action_chain")
    names = read.action_chain or [*read.action, *read.next_actions]
    items = None if read.fanout is None else _items(read.fanout, policy, problems)
    payload = None if "payload" in wrong else read.payload
    stages = _stages(names, payload, actions, problems)
    if given and not names and not wrong & {"action", "next_actions", "action_chain"}:
        problems.add("action is missing: name one, or give action_chain")
    if problems:
        raise InvalidRequestError("; ".join(problems) + ".")
    if not given:
        return iter(())
    plan = Plan(tuple(stages), policy)
    return (Record(f"task_{key}", [Unit(key, item)], plan) for key, item in _keyed(items))


def _items(fanout: Any, policy: FanoutPolicy, problems: Problems) -> Sequence[Any]:
    """Return what the first action is run for, one task each."""
    if isinstance(fanout, str) and (match := _RANGE.fullmatch(fanout.strip())):
        return _range(int(match[1]), int(match[2]), policy, problems)
    given = fanout
    if isinstance(fanout, Mapping) and set(fanout) == {"foreach"}:
        given = fanout["foreach"]
    elif isinstance(fanout, str) and (match := _FOREACH.fullmatch(fanout.strip())):
        try:
            given = read_value(f"[{match[1]}]")
        except NotAsWrittenError as error:
            problems.add(str(error), "fanout")
            return []
    if not isinstance(given, (list, tuple)):
        problems.add(f"fanout is {shown(fanout)}, {_ACCEPTED}")
        return []
    if not _few_enough(len(given), "a list", policy, problems):
        return []
    try:
        to_json(given, "fanout")
        for key, _ in _keyed(given):
            checked_key(key, "task")
    except (TypeError, InvalidRecordError) as error:
        hint = "; in quotes it is text" if isinstance(fanout, str) and isinstance(error, TypeError) else ""
        problems.add(str(error).removesuffix(".") + hint)
        return []
    return given


def _range(first: int, last: int, policy: FanoutPolicy, problems: Problems) -> range:
    what = f"range({first}, {last})"
    if first > last:
        problems.add(
            f"fanout is {what}, which has no number: both ends count, and the first is the lower one"
        )
    elif _few_enough(last - first + 1, what, policy, problems):
        return range(first, last + 1)
    return range(0)


def _few_enough(count: int, what: str, policy: FanoutPolicy, problems: Problems) -> bool:
    """Tell whether a request may have *count* tasks, before any is made."""
    limits = {"max_records": policy.max_records, "the most that a request may have": MOST_TASKS}
    for name, limit in limits.items():
        if limit is not None and count > limit:
            problems.add(f"fanout is {what} with {count:,} tasks, accepted: {limit:,} or fewer, {name}")
            return False
    return True


def _keyed(items: Sequence[Any] | None) -> Iterable[tuple[str, Any]]:
    """Return each item with its text, or with its place where texts are missing or the same; a lone one is "1"."""
    if items is None:
        return [("1", None)]
    texts = [
        _SPELLED.get(item, "") if item is None or isinstance(item, bool) else str(item) for item in items
    ]
    if len(set(texts)) == len(texts) and all(texts):
        return zip(texts, items, strict=True)
    return ((str(place), item) for place, item in enumerate(items, start=1))


def _stages(
    names: Sequence[str], payload: Mapping[str, Any] | None, actions: Actions, problems: Problems
) -> list[PlannedStage]:
    """Return the stages of the actions that *names* name, with their inputs; *payload* is None if it is a problem."""
    found: list[RegisteredAction] = []
    for name in names:
        try:
            found.append(actions.find(name))
        except UnknownActionError as error:
            problems.add(f"action {error}")
    if payload is None:
        return []
    inputs = {param.name for action in found for param in action.params}
    if len(found) == len(names) and (unknown := [name for name in payload if name not in inputs]):
        accepted = ", ".join(sorted(inputs)) or "none"
        problems.add(f"payload has {some(map(repr, unknown))}, accepted by these actions: {accepted}")
    stages: list[PlannedStage] = []
    for action in found:
        own = {param.name for param in action.params}
        planned, faults = action.checked_plan({name: payload[name] for name in payload if name in own})
        stages += planned
        for fault in faults:
            # An input of several actions is said once, as long as they say the same of it.
            problems.add(fault.text, f"payload for {action.action.name}")
    return stages


def _mapping(text: str) -> Any:
    stripped = text.strip()
    return read_value(stripped if stripped.startswith("{") else f"{{{stripped}}}")
