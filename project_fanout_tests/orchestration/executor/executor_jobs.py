"""Jobs that the executor tests run; each can be built over any executor."""

import os
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg

from project_fanout.orchestration import fanout_executor

EXECUTORS = {"fanout": fanout_executor, "in_process": dg.in_process_executor}


@dg.op(out=dg.DynamicOut(int))
def three() -> Iterator[dg.DynamicOutput[int]]:
    for number in range(3):
        yield dg.DynamicOutput(number, f"k{number}")


@dg.op(out=dg.DynamicOut(int))
def nothing_at_all() -> Iterator[dg.DynamicOutput[int]]:
    yield from ()


@dg.op(out=dg.DynamicOut(int, is_required=False))
def perhaps_none() -> Iterator[dg.DynamicOutput[int]]:
    yield from ()


@dg.op
def add_one(number: int) -> int:
    return number + 1


@dg.op
def double(number: int) -> int:
    return number * 2


@dg.op
def total(numbers: list[int]) -> int:
    return sum(numbers)


@dg.op
def echo(number: int) -> int:
    return number


@dg.graph
def mapped() -> None:
    total(three().map(add_one).collect())


@dg.graph
def mapped_over_nothing() -> None:
    echo(total(nothing_at_all().map(add_one).collect()))


@dg.graph
def skipped_dynamic_output() -> None:
    echo(total(perhaps_none().map(add_one).collect()))


@dg.graph
def chain_of_maps() -> None:
    total(three().map(lambda number: double(add_one(number))).collect())


@dg.graph
def two_collects_of_one_map() -> None:
    once = three().map(add_one)
    total.alias("early")(once.collect())
    total(once.map(double).collect())


@dg.op(out={"small": dg.DynamicOut(int), "large": dg.DynamicOut(int), "count": dg.Out(int)})
def several_outputs() -> Iterator[Any]:
    yield dg.DynamicOutput(1, "a", output_name="small")
    yield dg.DynamicOutput(10, "a", output_name="large")
    yield dg.DynamicOutput(20, "b", output_name="large")
    yield dg.Output(3, "count")


@dg.op
def add(number: int, count: int) -> int:
    return number + count


@dg.graph
def multiple_outputs() -> None:
    small, large, count = several_outputs()
    total.alias("smalls")(small.map(add_one).collect())
    total(large.map(lambda number: add(number, count)).collect())
    echo(count)


@dg.op(out=dg.DynamicOut(int))
def count_up(number: int) -> Iterator[dg.DynamicOutput[int]]:
    for each in range(number):
        yield dg.DynamicOutput(each, f"n{each}")


@dg.graph
def out_in_out_in() -> None:
    first = total.alias("first")(three().map(add_one).collect())
    total(count_up(first).map(double).collect())


@dg.graph
def inner(number: int) -> int:
    return double(add_one(number))


@dg.graph
def mapped_sub_graph() -> None:
    echo(total(three().map(inner).collect()))


@dg.op(out={"left": dg.Out(int, is_required=False), "right": dg.Out(int, is_required=False)})
def one_side() -> Iterator[dg.Output[int]]:
    yield dg.Output(1, "right")


@dg.graph
def skipped_optional_output() -> None:
    left, right = one_side()
    echo.alias("after_left")(add_one.alias("on_left")(left))
    echo.alias("after_right")(add_one.alias("on_right")(right))


@dg.op(out=dg.Out(int, is_required=False))
def only_even(number: int) -> Iterator[dg.Output[int]]:
    if number % 2 == 0:
        yield dg.Output(number)


@dg.graph
def skipped_records() -> None:
    total(three().map(lambda number: add_one(only_even(number))).collect())


@dg.op(out=dg.DynamicOut(int))
def fails_at_once() -> Iterator[dg.DynamicOutput[int]]:
    raise ValueError("no list today")
    yield


@dg.graph
def failing_emitter() -> None:
    echo(total(fails_at_once().map(add_one).collect()))


@dg.op
def fails_on_one(number: int) -> int:
    if number == 1:
        raise ValueError("not one")
    return number


@dg.graph
def failing_record() -> None:
    echo(total(three().map(lambda number: add_one(fails_on_one(number))).collect()))


@dg.op(out={"first": dg.Out(int), "second": dg.Out(int)})
def fails_between_outputs() -> Iterator[dg.Output[int]]:
    yield dg.Output(1, "first")
    raise ValueError("after the first output")


@dg.graph
def output_of_a_failed_step() -> None:
    first, second = fails_between_outputs()
    echo.alias("on_first")(first)
    echo.alias("on_second")(second)
    add_one(echo.alias("apart")(total([])))  # type: ignore[arg-type]  # within a graph it is an output


@dg.op(retry_policy=dg.RetryPolicy(max_retries=2, delay=0.2))
def second_try(context: dg.OpExecutionContext, number: int) -> int:
    if context.retry_number < 1:
        raise ValueError("once more")
    return number


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
def second_try_at_once(context: dg.OpExecutionContext, number: int) -> int:
    if context.retry_number < 1:
        raise ValueError("once more")
    return number


@dg.graph
def retried_with_delay() -> None:
    total(three().map(second_try).collect())


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
def never_works(number: int) -> int:
    raise dg.Failure("never", metadata={"number": number})


@dg.graph
def retries_exhausted() -> None:
    total(three().map(never_works).collect())


@dg.success_hook
def on_success(context: dg.HookContext) -> None:
    context.log.info("done: %s", context.step_key)


@dg.failure_hook
def on_failure(context: dg.HookContext) -> None:
    context.log.info("failed: %s", context.step_key)


@dg.success_hook
def broken_hook(context: dg.HookContext) -> None:
    raise ValueError("a hook that raises")


@dg.graph
def hooked() -> None:
    total(three().map(fails_on_one.with_hooks({on_success, on_failure, broken_hook})).collect())


def _takes_its_time(context: dg.HookContext, event_list: Any) -> dg.HookExecutionResult:
    time.sleep(0.2)  # so that the next attempt is due before this one's hooks are done
    return dg.HookExecutionResult("takes_its_time")


@dg.graph
def retried_at_once_with_a_slow_hook() -> None:
    retried = second_try_at_once.with_hooks(
        {dg.HookDefinition(name="takes_its_time", hook_fn=_takes_its_time)}
    )
    total(three().map(retried).collect())


@dg.op(pool="one_at_a_time")
def in_pool(number: int) -> int:
    return number


@dg.graph
def pooled() -> None:
    total(three().map(in_pool).collect())


@dg.op(tags={"database": "small"})
def tagged(number: int) -> int:
    return number


@dg.graph
def tag_limited() -> None:
    total(three().map(tagged).collect())


@dg.resource
def broken(_: dg.InitResourceContext) -> None:
    raise ValueError("no connection")


@dg.op(required_resource_keys={"broken"})
def needs_broken() -> int:
    return 1


@dg.graph
def resource_failure() -> None:
    echo(needs_broken())


@dg.op
async def asynchronously(number: int) -> int:
    import asyncio

    await asyncio.sleep(0.01)
    return number


@dg.graph
def async_ops() -> None:
    total(three().map(asynchronously).collect())


@dg.op(out=dg.DynamicOut(dg.Nothing))
def signals() -> Iterator[Any]:
    yield dg.DynamicOutput(None, "a")
    yield dg.DynamicOutput(None, "b")


@dg.op(ins={"signal": dg.In(dg.Nothing)})
def after_signal() -> int:
    return 1


@dg.graph
def nothing_mapped() -> None:
    total(signals().map(after_signal).collect())


def _assets() -> Any:
    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
    def source(context: dg.AssetExecutionContext) -> str:
        return context.partition_key

    @dg.asset_check(asset=source, blocking=True)
    def passes() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    @dg.asset_check(asset=source, blocking=True)
    def fails() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False)

    @dg.asset(partitions_def=source.partitions_def)
    def after_blocking(source: str) -> str:
        return source

    @dg.graph_asset(partitions_def=source.partitions_def)
    def fanned_out() -> int:
        return echo(total(three().map(add_one).collect()))

    @dg.asset(partitions_def=source.partitions_def, deps=[fanned_out])
    def summary() -> dg.MaterializeResult[Any]:
        return dg.MaterializeResult(metadata={"rows": 3})

    return [source, after_blocking, fanned_out, summary], [passes, fails]


def assets_job(executor: str) -> dg.JobDefinition:
    assets, checks = _assets()
    definitions = dg.Definitions(
        assets=assets,
        asset_checks=checks,
        executor=EXECUTORS[executor],
        jobs=[dg.define_asset_job("assets", selection=dg.AssetSelection.all())],
        resources={"io_manager": dg.FilesystemIOManager(base_dir=os.environ["FANOUT_TEST_STORAGE"])},
    )
    return definitions.resolve_job_def("assets")


GRAPHS = {
    graph.name: graph
    for graph in (
        mapped,
        mapped_over_nothing,
        skipped_dynamic_output,
        chain_of_maps,
        two_collects_of_one_map,
        multiple_outputs,
        out_in_out_in,
        mapped_sub_graph,
        skipped_optional_output,
        skipped_records,
        failing_emitter,
        failing_record,
        output_of_a_failed_step,
        retried_with_delay,
        retried_at_once_with_a_slow_hook,
        retries_exhausted,
        hooked,
        pooled,
        tag_limited,
        resource_failure,
        async_ops,
        nothing_mapped,
    )
}


def job(name: str, executor: str) -> dg.JobDefinition:
    """Return the job *name* over *executor*, a key of EXECUTORS."""
    if name == "assets":
        return assets_job(executor)
    resources = {"broken": broken} if name == "resource_failure" else {}
    return GRAPHS[name].to_job(name=name, executor_def=EXECUTORS[executor], resource_defs=resources)


def reconstructable(name: str, executor: str) -> Any:
    """Return *name* as `dg.execute_job` takes it."""
    return dg.build_reconstructable_job(__name__, "job", (name, executor))
