"""The steps of a run that may start, in the order in which they should."""

import heapq
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from enum import Enum


class Verdict(Enum):
    """What to do with the step that a `StepQueue` offers."""

    TAKE = "take"
    #: Not now, but its like may start: it waits for a slot that the instance gives to one step.
    WAIT = "wait"
    #: Neither this step nor any of its lane: they all wait for the same limit.
    BLOCK = "block"


@dataclass(slots=True)
class _Lane:
    """Steps that differ in nothing that decides whether they may start, first come first served."""

    waiting: deque[tuple[int, str]] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class LaneKey:
    """What the steps of a lane have in common.

    Args:
        order: lanes with the lower order go first.
        limits: tags, pool or whatever else limits how many of them run at once.
    """

    order: tuple[float, ...]
    limits: Hashable = None


class StepQueue:
    """Steps by lane: the cost of choosing grows with the lanes, not with the steps that wait.

    A thousand mapped steps under one limit are one lane, of which one look at the head says enough.
    """

    def __init__(self) -> None:
        self._lanes: dict[LaneKey, _Lane] = {}
        self._arrivals = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, step_key: str, lane: LaneKey) -> None:
        """Put *step_key* at the end of its lane."""
        self._arrivals += 1
        self._lanes.setdefault(lane, _Lane()).waiting.append((self._arrivals, step_key))
        self._size += 1

    def remove(self, step_keys: set[str]) -> list[str]:
        """Take *step_keys* out wherever they wait; return those that did."""
        removed: list[str] = []
        for lane in self._lanes.values():
            kept: deque[tuple[int, str]] = deque()
            for arrival, step_key in lane.waiting:
                if step_key in step_keys:
                    removed.append(step_key)
                else:
                    kept.append((arrival, step_key))
            lane.waiting = kept
        self._size -= len(removed)
        return removed

    def take(self, room: int, judge: Callable[[str], Verdict]) -> Iterator[str]:
        """Yield up to *room* steps that *judge* takes, best lane first, then in order of arrival.

        *judge* passes over at most *room* steps of a lane: a thousand steps that wait for one slot
        do not all have to ask for it.
        """
        heads = [
            (key.order, lane.waiting[0], index, lane)
            for index, (key, lane) in enumerate(self._lanes.items())
            if lane.waiting
        ]
        heapq.heapify(heads)
        passed: dict[int, list[tuple[int, str]]] = {}
        try:
            while heads and room > 0:
                order, (arrival, step_key), index, lane = heapq.heappop(heads)
                verdict = judge(step_key)
                if verdict is Verdict.BLOCK:
                    continue
                lane.waiting.popleft()
                if verdict is Verdict.TAKE:
                    self._size -= 1
                    room -= 1
                    yield step_key
                else:
                    passed.setdefault(index, []).append((arrival, step_key))
                    if len(passed[index]) >= room:
                        continue
                if lane.waiting:
                    heapq.heappush(heads, (order, lane.waiting[0], index, lane))
        finally:
            lanes = list(self._lanes.values())
            for index, steps in passed.items():
                lanes[index].waiting.extendleft(reversed(steps))
            self._lanes = {key: lane for key, lane in self._lanes.items() if lane.waiting}
