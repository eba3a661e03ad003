"""Job requests: an action, its payload, what it fans out over, and the actions that follow."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict

from project_fanout.engine.errors import FanoutError, InvalidRecordError
from project_fanout.engine.model import Record, Unit, checked_key
from project_fanout.engine.plan import Plan, PlannedStage
from project_fanout.engine.policy import FanoutPolicy
from project_fanout.engine.values import to_json
from project_fanout.forks.actions import Actions, RegisteredAction, UnknownActionError
from project_fanout.forks.problems import Problems, shown, some
from project_fanout.forks.validation import usable_part

#: Most tasks of a request's first job: each is a step, and Dagster keeps several events of every step.
MOST_TASKS = 100_000

_RANGE = re.compile(r"range\(\s*(-?\d{1,18})\s*,\s*(-?\d{1,18})\s*\)")
_FOREACH = re.compile(r"foreach\((.*)\)", re.DOTALL)
_ACCEPTED = "accepted: range(first, last) with both included, {foreach: [item, ...]}, or a list"


class InvalidRequestError(FanoutError):
    """A job request cannot be started; names everything that is wrong with it."""


def _in_list(names: Any) -> Any:
    return [names] if isinstance(names, str) else names


def _from_text(payload: Any) -> Any:
    try:
        return _mapping(payload) if isinstance(payload, str) else payload
    except InvalidRequestError as error:
        raise ValueError(str(error).rstrip(".")) from None


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
        InvalidRequestError: a line is none, its field is given before, or its value cannot be read.
    """
    request: dict[str, Any] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        match = re.fullmatch(r"(\w+)\s*:\s*(.*)", line)
        if match is None:
            raise InvalidRequestError(f"{line!r} is not a line of a request: write `field: value`.")
        if match[1] in request:
            raise InvalidRequestError(
                f"{match[1]} is given twice, the second time as {match[2]!r}: remove one."
            )
        request[match[1]] = _mapping(match[2]) if match[1] == "payload" else _yaml(match[2])
    return request


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
    items = [None] if read.fanout is None else _items(read.fanout, policy, problems)
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
            given = _yaml(f"[{match[1]}]")
        except InvalidRequestError as error:
            problems.add(str(error))
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
        problems.add(str(error).removesuffix("."))
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


def _keyed(items: Sequence[Any]) -> Iterable[tuple[str, Any]]:
    """Return each item with its text, or with its place where texts are missing or the same."""
    texts = ["1" if item is None else str(item) for item in items]
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
    return _yaml(stripped if stripped.startswith("{") else f"{{{stripped}}}")


def _yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidRequestError(f"{text!r} cannot be read: {error}") from None
