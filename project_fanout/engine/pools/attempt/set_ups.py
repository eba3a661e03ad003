"""`SetUps`: what a worker keeps for its stages from one unit to the next, and closes at its end."""

import inspect
import pickle
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from project_fanout.engine.errors import SetupError
from project_fanout.engine.per_worker import PerWorker, SetUp
from project_fanout.engine.pools.attempt.attempt import Attempt, Next, found_by_name
from project_fanout.engine.pools.attempt.failure import WorkerEndsError, described
from project_fanout.engine.pools.calls import UnitReply
from project_fanout.engine.pools.supplied import SharedValue

# Values of runs that have ended: a pool of several runs would otherwise keep them all.
_MOST_SHARED = 32


class SetUps:
    """The values that resources give to stages in this process, each made once.

    Args:
        load: how a value that has been shared gets here.
        on_open: called with how many `per_worker` values are open when that changes.
    """

    def __init__(
        self,
        load: Callable[[SharedValue], Any] = SharedValue.load,
        on_open: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._load = load
        self._on_open = on_open
        self._lock = threading.Lock()
        self._shared: OrderedDict[str, Any] = OrderedDict()
        self._made: dict[SetUp, Future[Any]] = {}
        self._generators: list[tuple[SetUp, Any]] = []

    async def provide(self, attempt: Attempt, call_next: Next) -> list[UnitReply]:
        """Ring: put together the keyword arguments of the stage."""
        params = pickle.loads(attempt.call.params)
        if supplied := attempt.call.supplied:
            params.update((name, self._shared_value(value)) for name, value in supplied.shared)
            for name, set_up in supplied.set_ups:
                params[name] = await self._value(set_up, is_async=attempt.call.is_async)
        attempt.params = params
        return await call_next(attempt)

    def close(self, run: Callable[[Awaitable[Any]], Any]) -> list[str]:
        """Close what has been made, the last first; return what went wrong.

        Args:
            run: runs a coroutine on the event loop of the coroutine stages.
        """
        problems = []
        while self._generators:
            set_up, generator = self._generators.pop()
            try:
                if isinstance(generator, AsyncGenerator):
                    run(anext(generator, None))
                else:
                    next(generator, None)
            except Exception as error:  # the others are closed all the same
                problems.append(f"per_worker {set_up.reference} could not be closed: {described(error)}")
            self._on_open(len(self._generators))
        return problems

    def _shared_value(self, value: SharedValue) -> Any:
        with self._lock:
            if value.key not in self._shared:
                self._shared[value.key] = self._load(value)
                while len(self._shared) > _MOST_SHARED:
                    self._shared.popitem(last=False)
            self._shared.move_to_end(value.key)
            return self._shared[value.key]

    async def _value(self, set_up: SetUp, *, is_async: bool) -> Any:
        with self._lock:
            made = self._made.get(set_up)
            is_first = made is None
            if made is None:
                made = self._made[set_up] = Future()
        if is_first:
            try:
                made.set_result(await self._make(set_up, is_async=is_async))
            except BaseException as error:
                with self._lock:
                    del self._made[set_up]  # the next unit tries again
                if isinstance(error, WorkerEndsError):
                    made.cancel()
                    raise
                made.set_exception(_said(set_up, error))
        if is_async and not made.done():
            import asyncio  # noqa: PLC0415  # for coroutines alone

            return await asyncio.wrap_future(made)
        return made.result()

    async def _make(self, set_up: SetUp, *, is_async: bool) -> Any:
        function: Any = found_by_name(set_up.reference, set_up.import_root)
        if isinstance(function, PerWorker):
            function = function.function
        params = pickle.loads(set_up.params)
        if inspect.isasyncgenfunction(function):
            generator = function(**params)
            value = await anext(generator)
        elif inspect.iscoroutinefunction(function):
            return await function(**params)
        else:
            call: Callable[..., Awaitable[Any]] = _in_this_thread
            if is_async:
                import asyncio  # noqa: PLC0415  # see above

                call = asyncio.to_thread  # other coroutines go on meanwhile
            generator = value = await call(function, **params)
            if not inspect.isgenerator(value):
                return value
            value = await call(next, generator)
        with self._lock:
            self._generators.append((set_up, generator))
            self._on_open(len(self._generators))
        return value


async def _in_this_thread(function: Callable[..., Any], *arguments: Any, **params: Any) -> Any:
    return function(*arguments, **params)


def _said(set_up: SetUp, error: BaseException) -> SetupError:
    name = set_up.reference.partition(":")[2]
    problem = described(error)
    said = SetupError(f"per_worker {name} could not be set up: {problem}")
    said.__cause__ = error
    return said
