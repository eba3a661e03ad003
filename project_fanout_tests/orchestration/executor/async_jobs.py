"""Jobs with async resources and async ops, over any executor."""

import asyncio
import contextlib
import contextvars
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import dagster as dg

from project_fanout.orchestration import fanout_executor
from project_fanout_tests.waiting import wait_until

EXECUTORS = {"fanout": fanout_executor, "in_process": dg.in_process_executor}

#: What the caller of a run has set, and what resources and ops have told of themselves.
called_by: contextvars.ContextVar[str] = contextvars.ContextVar("called_by", default="nobody")
told: list[tuple[str, Any]] = []


class Session(dg.ConfigurableResource):  # type: ignore[type-arg]  # its value is the resource itself
    """What a client library's session is: of use on the loop, and in the thread, where it was opened."""

    host: str = "example.org"

    @contextlib.asynccontextmanager
    async def yield_for_execution(self, context: dg.InitResourceContext) -> AsyncIterator["Session"]:
        await asyncio.sleep(0)
        self._home = (asyncio.get_running_loop(), threading.current_thread())
        assert context.event_loop is self._home[0]
        self._arrived = 0
        self._all_there = asyncio.Event()
        self._beat = asyncio.create_task(asyncio.sleep(3600))
        yield self
        self.check()
        told.append(("closed", called_by.get()))
        self._beat.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._beat

    def check(self) -> None:
        assert (asyncio.get_running_loop(), threading.current_thread()) == self._home
        assert not self._beat.done()

    async def get(self, number: int) -> int:
        self.check()
        await asyncio.sleep(0)
        return number

    async def meet(self, count: int) -> None:
        """Return when *count* callers are here at the same time."""
        self._arrived += 1
        if self._arrived == count:
            self._all_there.set()
        await asyncio.wait_for(self._all_there.wait(), timeout=30)


class Clock(dg.ConfigurableResource):  # type: ignore[type-arg]  # as above
    """Another async resource."""

    host: str = "example.net"

    @contextlib.asynccontextmanager
    async def yield_for_execution(self, context: dg.InitResourceContext) -> AsyncIterator["Clock"]:
        self._loop = asyncio.get_running_loop()
        yield self
        assert asyncio.get_running_loop() is self._loop


@dg.op(out=dg.DynamicOut(int))
def three() -> Iterator[dg.DynamicOutput[int]]:
    for number in range(3):
        yield dg.DynamicOutput(number, f"k{number}")


@dg.op
def total(numbers: list[int]) -> int:
    return sum(numbers)


@dg.op
async def get(session: Session, number: int) -> int:
    return await session.get(number)


@dg.graph
def async_resource() -> None:
    total(three().map(get).collect())


@dg.op
async def get_in_time(clock: Clock, session: Session, number: int) -> int:
    assert clock._loop is session._home[0]
    return await session.get(number)


@dg.graph
def two_async_resources() -> None:
    total(three().map(get_in_time).collect())


@dg.op(out={"first": dg.Out(int), "second": dg.Out(int)})
async def two(context: dg.OpExecutionContext, session: Session):  # Dagster refuses an AsyncIterator here
    yield dg.AssetMaterialization("something")
    yield dg.Output(await session.get(1), "first")
    context.log.info("between")
    await asyncio.sleep(0)
    yield dg.Output(await session.get(2), "second")


@dg.op
def add(first: int, second: int) -> int:
    return first + second


@dg.graph
def async_generator() -> None:
    add(*two())


@dg.op(out=dg.DynamicOut(int))
async def async_three(session: Session) -> AsyncIterator[dg.DynamicOutput[int]]:
    for number in range(3):
        yield dg.DynamicOutput(await session.get(number), f"k{number}")


@dg.graph
def async_trigger() -> None:
    total(async_three().map(get).collect())


@dg.op
async def raises(session: Session, number: int) -> int:
    if await session.get(number) == 1:
        raise ValueError("not one")
    return number


@dg.graph
def async_failure() -> None:
    total(three().map(raises).collect())


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
async def second_try(context: dg.OpExecutionContext, session: Session, number: int) -> int:
    await session.get(number)
    if context.retry_number == 0:
        raise ValueError("once more")
    return number


@dg.op
async def asks_for_retry(context: dg.OpExecutionContext, session: Session, number: int) -> int:
    await session.get(number)
    if context.retry_number == 0:
        raise dg.RetryRequested(max_retries=1)
    return number


@dg.graph
def async_retries() -> None:
    total(three().map(lambda number: asks_for_retry(second_try(number))).collect())


@dg.op
async def runs_out_of_time(session: Session, number: int) -> int:
    await asyncio.wait_for(session.meet(4), timeout=0.01)
    return number


@dg.graph
def async_timeout() -> None:
    total(three().map(runs_out_of_time).collect())


@dg.op
async def asks_a_program(session: Session) -> int:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "print(41)", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await program.communicate()
    return int(out) + await asyncio.to_thread(int, "1")


@dg.op
def echo(number: int) -> int:
    return number


@dg.graph
def async_subprocess() -> None:
    echo(asks_a_program())


class Broken(dg.ConfigurableResource):  # type: ignore[type-arg]  # as above
    """A resource that cannot be opened."""

    host: str = "example.org"

    @contextlib.asynccontextmanager
    async def yield_for_execution(self, context: dg.InitResourceContext) -> AsyncIterator["Broken"]:
        await asyncio.sleep(0)
        raise ConnectionError("no such host")
        yield self


@dg.op
async def needs_broken(session: Session, broken: Broken) -> int:
    return await session.get(1)


@dg.graph
def async_resource_failure() -> None:
    echo(needs_broken())


@dg.op
async def who_calls(context: dg.OpExecutionContext, session: Session, number: int) -> int:
    told.append(("op", called_by.get()))
    assert dg.OpExecutionContext.get().op_execution_context.run_id == context.run_id
    called_by.set(f"step {number}")
    await asyncio.sleep(0)
    assert called_by.get() == f"step {number}"
    return number


@dg.graph
def in_context() -> None:
    total(three().map(who_calls).collect())


@dg.op
async def leaves(session: Session) -> int:
    await session.get(1)
    raise SystemExit(7)


@dg.graph
def leaving() -> None:
    echo(leaves())


@dg.op
async def gives_up(session: Session) -> int:
    await session.get(1)
    raise asyncio.CancelledError


@dg.graph
def giving_up() -> None:
    echo(gives_up())


# ---- jobs that other executors could not end: their steps wait for each other ------------------


@dg.op
async def meets_the_others(context: dg.OpExecutionContext, session: Session, number: int) -> int:
    await session.meet(3)
    context.log.info("context log of %d", number)
    dg.get_dagster_logger().info("python log of %d", number)
    await asyncio.to_thread(dg.get_dagster_logger().info, "thread log of %d", number)
    return number


@dg.graph
def meeting() -> None:
    total(three().map(meets_the_others).collect())


sync_step_ran = threading.Event()


@dg.op
async def blocks(session: Session) -> int:
    wait_until(sync_step_ran.is_set, "the sync step has run", limit_s=30)
    return await session.get(1)


@dg.op
def runs_meanwhile() -> int:
    time.sleep(0.1)
    sync_step_ran.set()
    return 1


@dg.graph
def blocking() -> None:
    add(blocks(), runs_meanwhile())


async def _exits() -> None:
    raise SystemExit(8)


@dg.op
async def loses_a_task(session: Session, number: int) -> int:
    await session.meet(3)
    if number == 0:
        session._lost = asyncio.create_task(_exits())
    await asyncio.sleep(0.05)
    return number


@dg.graph
def losing_a_task() -> None:
    total(three().map(loses_a_task).collect())


def job(name: str, executor: str) -> dg.JobDefinition:
    """Return one of this module's graphs as a job over *executor*, a key of EXECUTORS."""
    graph: dg.GraphDefinition = globals()[name]
    return graph.to_job(
        name=name,
        executor_def=EXECUTORS[executor],
        resource_defs={"session": Session(), "clock": Clock(), "broken": Broken()},
    )


def reconstructable(name: str, executor: str) -> Any:
    """Return *name* as `dg.execute_job` takes it."""
    return dg.build_reconstructable_job(__name__, "job", (name, executor))
