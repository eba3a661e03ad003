"""Jobs whose steps wait for files, so that tests see what has started when."""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from project_fanout.orchestration import fanout_executor
from project_fanout_tests.nightly import examples
from project_fanout_tests.waiting import wait_until

MANY = examples(250, at_night=1_000)


class Folder(dg.ConfigurableResource):  # type: ignore[type-arg]  # its value is the resource itself
    """A folder in which the steps of a test leave marks."""

    path: str

    def mark(self, name: str) -> None:
        (Path(self.path) / name).touch()

    def count(self, name: str) -> int:
        """Leave one more mark *name*; return how many there are."""
        for number in range(1, 100):
            try:
                (Path(self.path) / f"{name}#{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            return number
        raise AssertionError(name)

    def wait(self, name: str) -> None:
        wait_until((Path(self.path) / name).exists, f"there is {name}")

    def names(self) -> set[str]:
        return set(os.listdir(self.path))


@dg.op(out=dg.DynamicOut(int))
def one_after_the_other(folder: Folder) -> Iterator[dg.DynamicOutput[int]]:
    """Yields the second item only when the first has gone through the whole chain."""
    yield dg.DynamicOutput(1, "first")
    folder.wait("second link of 1")
    yield dg.DynamicOutput(2, "second")
    folder.mark("list is complete")


@dg.op
def first_link(folder: Folder, number: int) -> int:
    folder.mark(f"first link of {number}")
    return number


@dg.op
def second_link(folder: Folder, number: int) -> int:
    folder.mark(f"second link of {number}")
    return number


@dg.op
def collect(folder: Folder, numbers: list[int]) -> int:
    assert "list is complete" in folder.names(), "collect has started before the trigger's end"
    return sum(numbers)


@dg.graph
def streaming() -> None:
    collect(one_after_the_other().map(lambda number: second_link(first_link(number))).collect())


class LateStore(dg.IOManager):
    """Keeps values in memory, each some time after its STEP_OUTPUT; refuses to load what is not there."""

    def __init__(self) -> None:
        self._values: dict[Any, Any] = {}

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        time.sleep(0.001)
        self._values[tuple(context.get_identifier())] = obj

    def load_input(self, context: dg.InputContext) -> Any:
        assert context.upstream_output is not None
        return self._values[tuple(context.upstream_output.get_identifier())]


@dg.op(out=dg.DynamicOut(int))
def many() -> Iterator[dg.DynamicOutput[int]]:
    for number in range(MANY):
        yield dg.DynamicOutput(number, f"k{number}")


@dg.op(out=dg.Out(dg.Nothing))
def cheap(number: int) -> None:
    pass


@dg.op
def collect_any(folder: Folder, numbers: list[int]) -> list[int]:
    folder.mark("collected")
    return numbers


@dg.op(out=dg.DynamicOut(int))
def three_items() -> Iterator[dg.DynamicOutput[int]]:
    for number in range(3):
        yield dg.DynamicOutput(number, f"k{number}")


@dg.op
def add_up(numbers: list[int]) -> int:
    return sum(numbers)


@dg.op
def one_more(number: int) -> int:
    return number + 1


@dg.graph
def one_by_one() -> None:
    add_up(
        three_items().map(lambda number: one_more.alias("then")(one_more.alias("first")(number))).collect()
    )


@dg.graph
def many_steps() -> None:
    many().map(cheap)


@dg.op(out=dg.DynamicOut(int))
def fails_half_way(folder: Folder) -> Iterator[dg.DynamicOutput[int]]:
    yield dg.DynamicOutput(0, "a")
    folder.wait("work on 0")
    attempt = folder.count("attempt")
    for number, key in enumerate("bcdefgh", start=1):
        yield dg.DynamicOutput(number, key)
    if attempt == 1:
        raise ValueError("the list broke off")


@dg.op(out=dg.DynamicOut(int), retry_policy=dg.RetryPolicy(max_retries=1, delay=0.1))
def retried_half_way(folder: Folder) -> Iterator[dg.DynamicOutput[int]]:
    attempt = folder.count("attempt")
    for number, key in enumerate("abcd"):
        yield dg.DynamicOutput(number, key)
    if attempt == 1:
        folder.wait("work on 0")
        raise ValueError("the list broke off")
    yield dg.DynamicOutput(4, "e")


@dg.op
def work(folder: Folder, number: int) -> int:
    folder.mark(f"work on {number}")
    folder.count(f"run of {number}")
    # Two steps at a time: the trigger and this one. It ends after the trigger has failed.
    if number == 0:
        folder.wait("attempt#1")
        time.sleep(0.5)
    return number


@dg.graph
def broken_off() -> None:
    collect_any(fails_half_way().map(work).collect())


@dg.graph
def retried_trigger() -> None:
    collect_any(retried_half_way().map(work).collect())


class Gate(dg.ConfigurableResource):  # type: ignore[type-arg]  # its value is the resource itself
    """What a pool is to a step that waits for it: teardown releases the step, by an error."""

    path: str
    opens: bool = True

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        import threading

        self._closed = threading.Event()

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        if self.opens:
            self._closed.set()

    def wait(self, name: str) -> None:
        (Path(self.path) / name).touch()
        self._closed.wait()
        raise RuntimeError("the pool was closed")


@dg.op
def waits_for_pool(gate: Gate, number: int) -> int:
    gate.wait(f"waiting {number}")
    return number


@dg.graph
def waiting() -> None:
    add_up(three_items().map(waits_for_pool).collect())


@dg.op
def sleeps_for_ever(folder: Folder, number: int) -> int:
    folder.mark(f"asleep {number}")
    time.sleep(3600)
    return number


@dg.graph
def stuck() -> None:
    add_up(three_items().map(sleeps_for_ever).collect())


@dg.op
def waits_for_a_child(folder: Folder, number: int) -> int:
    """Start a process that starts another, and wait in C code for its end."""
    folder.mark(f"asleep {number}")
    subprocess.run(["sh", "-c", f"sleep 613.{number}; true"], check=False)
    return number


@dg.graph
def with_children() -> None:
    add_up(three_items().map(waits_for_a_child).collect())


@dg.op(pool="beds")
def naps(folder: Folder, number: int) -> int:
    folder.mark(f"asleep {number}")
    try:
        while True:
            time.sleep(0.05)
    except dg.DagsterExecutionInterruptedError:
        folder.mark(f"woken {number}")
        raise


@dg.graph
def napping() -> None:
    add_up(three_items().map(naps).collect())


class Link(dg.ConfigurableResource):  # type: ignore[type-arg]  # its value is the resource itself
    """What a connection is to the ops that await an answer of it: open until teardown."""

    path: str

    @contextlib.asynccontextmanager
    async def yield_for_execution(self, context: dg.InitResourceContext) -> AsyncIterator["Link"]:
        self._open = True
        self._came = 0
        self._all_came = asyncio.Event()
        yield self
        self._open = False

    def mark(self, name: str) -> None:
        (Path(self.path) / name).touch()

    async def meet(self) -> None:
        """Return when three have come."""
        self._came += 1
        if self._came == 3:
            self._all_came.set()
        await self._all_came.wait()

    async def never_answers(self, number: int) -> None:
        """Leave a mark, and another when cancelled, while the connection is open and can still await."""
        self.mark(f"asleep {number}")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            if self._open:
                self.mark(f"woken {number}")


@dg.op
async def awaits(link: Link, number: int) -> int:
    await link.never_answers(number)
    return number


@dg.graph
def awaiting() -> None:
    add_up(three_items().map(awaits).collect())


@dg.op
async def blocks_the_loop(link: Link, number: int) -> int:
    """When all three have come, the first never gives the event loop back."""
    await link.meet()
    link.mark(f"asleep {number}")
    if number > 0:
        await link.never_answers(number)
    await asyncio.sleep(0.1)  # until the others await
    time.sleep(3600)  # noqa: ASYNC251  # what it must not do
    return number


@dg.graph
def blocked() -> None:
    add_up(three_items().map(blocks_the_loop).collect())


@dg.op
def talks(context: dg.OpExecutionContext, folder: Folder, number: int) -> int:
    # Every step logs while the others are under way.
    folder.mark(f"talking {context.run.job_name} {number}")
    others = [context.run.job_name] if context.run.job_name == "alone" else ["one", "two"]
    for other in others:
        for each in range(3):
            folder.wait(f"talking {other} {each}")
    # In one piece: `print` writes the line's end apart, and another step's line can come between.
    sys.stdout.write(f"print of {context.run.job_name} {number}\n")
    context.log.info("context log of %d", number)
    dg.get_dagster_logger().info("python log of %d", number)
    logging.getLogger("managed").warning("managed log of %d", number)
    return number


@dg.graph
def talkative() -> None:
    add_up(three_items().map(talks).collect())


def talkative_job(name: str) -> dg.JobDefinition:
    """Return the job *name*: two of them at once wait for each other's steps."""
    return talkative.to_job(
        name=name, executor_def=fanout_executor, resource_defs={"folder": Folder.configure_at_launch()}
    )


def config(path: Path, resource: str = "folder", **execution: Any) -> dict[str, Any]:
    """Return the run config of a job that marks its way in *path*."""
    return {
        "resources": {resource: {"config": {"path": str(path)}}},
        "execution": {"config": execution},
    }


def job(name: str) -> dg.JobDefinition:
    """Return one of this module's jobs by name, its resources to be configured."""
    if name in ("alone", "one", "two"):
        return talkative_job(name)
    graph: dg.GraphDefinition = globals()[name]
    return graph.to_job(
        name=name,
        executor_def=fanout_executor,
        resource_defs={
            key: definition
            for key, definition in {
                "folder": Folder.configure_at_launch(),
                "gate": Gate.configure_at_launch(),
                "link": Link.configure_at_launch(),
                "io_manager": dg.IOManagerDefinition.hardcoded_io_manager(LateStore()),
            }.items()
            if key
            in {
                "waiting": {"gate"},
                "awaiting": {"link"},
                "blocked": {"link"},
                "many_steps": {"io_manager"},
                "one_by_one": set(),
            }.get(name, {"folder"})
        },
    )


def reconstructable(name: str) -> Any:
    """Return *name* as `dg.execute_job` takes it."""
    return dg.build_reconstructable_job(__name__, "job", (name,))


if __name__ == "__main__":
    import json

    home, name, run_config = sys.argv[1:]
    with dg.DagsterInstance.from_config(home) as home_instance:
        dg.execute_job(reconstructable(name), home_instance, run_config=json.loads(run_config))
