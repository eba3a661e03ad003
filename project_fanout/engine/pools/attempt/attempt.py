"""`Attempt`: the calls that a worker runs together, and how rings are put around what runs them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from project_fanout.engine.pools.attempt.stage_module import imported
from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitReply
from project_fanout.engine.rate import Start

if TYPE_CHECKING:
    from project_fanout.engine.pools.attempt.deadline import Deadline


@dataclass(slots=True)
class Attempt:
    """The calls that a worker runs together: one, or those of a batch.

    Args:
        calls: what to run; all of the same stage, with the same params.
        on_loaded: called when stage and set-ups are there, just before the stage runs.
        on_log: gets what the stage logs, None if nobody wants it.
        start: when it is to start, None for at once.
        is_alone: whether nothing else runs in this process meanwhile.
        is_interruptible: whether an interrupt of this process (Ctrl-C) is one, and not the unit's own error.
        stage: the function, once it has been imported.
        params: its keyword arguments, once they are there.
        deadline: that of a coroutine, once it runs, None for none.
        seconds: how long it ran.
        cpu_seconds: CPU time that it took, None where others ran beside it.
        peak_mb: most memory of the worker meanwhile, in MiB, None where that cannot be told.
        begun: whether the stage has been called.
        returned: whether the stage has returned; what goes wrong after that is its result.
    """

    calls: Sequence[UnitCall]
    on_loaded: Callable[[], None] = lambda: None
    on_log: Callable[[UnitLog], None] | None = None
    start: Start | None = None
    is_alone: bool = False
    is_interruptible: bool = False
    stage: Callable[..., Any] = field(init=False)
    params: Mapping[str, Any] = field(default_factory=dict)
    deadline: "Deadline | None" = None
    seconds: float = 0.0
    cpu_seconds: float | None = None
    peak_mb: float | None = None
    begun: bool = False
    returned: bool = False

    @property
    def call(self) -> UnitCall:
        """The first of its calls: what all of them have in common stands in it."""
        return self.calls[0]

    @property
    def timeout_s(self) -> float | None:
        """Seconds until its deadline: a batch has those of all its units."""
        return None if self.call.timeout_s is None else self.call.timeout_s * len(self.calls)


#: Runs an attempt and returns the reply to each of its calls, in order, or none if it has not begun.
Next = Callable[[Attempt], Awaitable[list[UnitReply]]]


class Ring(Protocol):
    """Does something before or after it calls the next, or does not call it."""

    def __call__(self, attempt: Attempt, call_next: Next) -> Awaitable[list[UnitReply]]:
        """Return the reply to each call of *attempt*."""


def surrounded(run: Next, rings: Sequence[Ring]) -> Next:
    """Return *run* with *rings* around it, the first of them outermost."""
    for ring in reversed(rings):
        run = partial(ring, call_next=run)
    return run


async def load(attempt: Attempt, call_next: Next) -> list[UnitReply]:
    """Import the stage."""
    attempt.stage = found_by_name(attempt.call.stage, attempt.call.import_root)
    return await call_next(attempt)


def found_by_name(name: str, import_root: str = "") -> Callable[..., Any]:
    """Import the function that *name* ("package.module:function") points to.

    Args:
        name: module and function.
        import_root: the folder that the run has the module from, "" if that is not known.

    Raises:
        ValueError: *name* is not of that form.
        TypeError: what it names is not callable.
        ImportError, AttributeError: there is no such module or function, or another module has its name.
    """
    module_name, _, qualified_name = name.partition(":")
    if not module_name or not qualified_name:
        raise ValueError(f"{name!r} does not name a stage: write it as 'package.module:function'.")
    found: Any = imported(module_name, import_root)
    for part in qualified_name.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(
            f"{name!r} is a {type(found).__name__}, not a function: a stage is called with a Unit."
        )
    function: Callable[..., Any] = found
    return function
