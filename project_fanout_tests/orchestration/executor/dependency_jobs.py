"""Jobs whose steps take several outputs of others, some of which fail, skip or take their time."""

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg

from project_fanout.orchestration import fanout_executor
from project_fanout_tests.orchestration.executor.streaming_jobs import Folder, LateStore

EXECUTORS = {"fanout": fanout_executor, "in_process": dg.in_process_executor}


def config(**execution: Any) -> dict[str, Any]:
    """Return a run config in which steps wait for outputs, not for the success of other steps."""
    dependencies = {"require_upstream_step_success": False}
    return {"execution": {"config": {"step_dependency_config": dependencies, **execution}}}


# ---- a step that goes on after its first output --------------------------------------------------


@dg.op(out={"first": dg.Out(int), "second": dg.Out(int)})
def goes_on(folder: Folder) -> Iterator[dg.Output[int]]:
    yield dg.Output(1, "first")
    folder.wait("first is used")
    yield dg.Output(2, "second")


@dg.op
def uses_first(folder: Folder, number: int) -> int:
    folder.mark("first is used")
    return number


@dg.op
def add(one: int, other: int) -> int:
    return one + other


@dg.graph
def going_on() -> None:
    first, second = goes_on()
    add(uses_first(first), second)


@dg.op(out={"signal": dg.Out(dg.Nothing), "value": dg.Out(int)})
def signals() -> Iterator[Any]:
    yield dg.Output(None, "signal")
    yield dg.Output(1, "value")
    raise ValueError("after both outputs")


@dg.op(ins={"signal": dg.In(dg.Nothing)})
def after_signal() -> int:
    return 1


@dg.op(out={"a": dg.Out(int), "b": dg.Out(int), "c": dg.Out(int)})
def fails_before_c() -> Iterator[dg.Output[int]]:
    yield dg.Output(1, "a")
    yield dg.Output(2, "b")
    raise ValueError("before c")


@dg.op
def total(numbers: list[int]) -> int:
    return sum(numbers)


@dg.op(out={"none": dg.Out(int, is_required=False), "one": dg.Out(int, is_required=False)})
def skips_none() -> Iterator[dg.Output[int]]:
    yield dg.Output(1, "one")


@dg.op(out=dg.DynamicOut(int))
def three() -> Iterator[dg.DynamicOutput[int]]:
    for number in range(3):
        yield dg.DynamicOutput(number, f"k{number}")


@dg.op
def fails_after_its_output(number: int) -> Iterator[dg.Output[int]]:
    yield dg.Output(number)
    raise ValueError("too late")


@dg.op
def echo(number: int) -> int:
    return number


@dg.op(out={"items": dg.DynamicOut(int), "count": dg.Out(int)})
def counts() -> Iterator[Any]:
    yield dg.Output(2, "count")
    yield dg.DynamicOutput(1, "a", output_name="items")
    yield dg.DynamicOutput(2, "b", output_name="items")


@dg.graph
def many_kinds() -> None:
    """Whatever a step can wait for, of steps that fail or skip."""
    signal, value = signals()
    after_signal(signal)
    echo.alias("on_value")(value)
    a, b, c = fails_before_c()
    total.alias("on_a_and_b")([a, b])
    total.alias("on_b_and_c")([b, c])
    add.alias("on_a_and_its_child")(a, echo.alias("on_a")(a))
    echo.alias("behind_c")(echo.alias("on_c")(c))
    none, one = skips_none()
    add.alias("on_none_and_a")(none, a)
    echo.alias("on_one")(one)
    total.alias("on_collected")(three().map(fails_after_its_output).collect())
    items, count = counts()
    total.alias("on_items")(items.map(lambda item: add.alias("with_count")(item, count)).collect())
    echo.alias("on_count")(count)


# ---- a value that is stored late -----------------------------------------------------------------


@dg.op(out={f"o{number}": dg.Out(int) for number in range(100)})
def hundred():
    for number in range(100):
        yield dg.Output(number, f"o{number}")


@dg.graph
def stored_late() -> None:
    for number, output in enumerate(hundred()):
        echo.alias(f"echo_{number}")(output)


# ---- any graph -----------------------------------------------------------------------------------


def any_graph(steps: list[dict[str, Any]]) -> dg.GraphDefinition:
    """Return a graph of ops with the outputs `x` and `y`.

    Args:
        steps: of each op what it does, a sequence of "x", "y" and "fail", and what it takes: a list of
            inputs, each a list of outputs `[step, name]` of earlier ops.
    """
    ops = []
    dependencies: dict[Any, Any] = {}
    for number, step in enumerate(steps):

        def body(context: Any, _does: list[str] = step["does"], **_: Any) -> Iterator[Any]:
            for what in _does:
                if what == "fail":
                    raise ValueError("as told")
                yield dg.Output(1, what)

        ops.append(
            dg.OpDefinition(
                name=f"op{number}",
                compute_fn=lambda context, inputs, body=body: body(context, **inputs),
                ins={f"i{position}": dg.In() for position, _ in enumerate(step["takes"])},
                outs={name: dg.Out(int, is_required=False) for name in "xy"},
            )
        )
        inputs: dict[str, Any] = {}
        for position, outputs in enumerate(step["takes"]):
            sources = [dg.DependencyDefinition(f"op{other}", name) for other, name in outputs]
            inputs[f"i{position}"] = (
                sources[0] if len(sources) == 1 else dg.MultiDependencyDefinition(sources)
            )
        dependencies[f"op{number}"] = inputs
    return dg.GraphDefinition(name="any_graph", node_defs=ops, dependencies=dependencies)


def job(name: str, executor: str) -> dg.JobDefinition:
    """Return a job over *executor*, a key of EXECUTORS: a graph of this module, or the steps of `any_graph`."""
    graph = any_graph(json.loads(name)) if name.startswith("[") else globals()[name]
    resources: dict[str, Any] = {"folder": Folder.configure_at_launch()} if name == "going_on" else {}
    if name == "stored_late":
        resources["io_manager"] = dg.IOManagerDefinition.hardcoded_io_manager(LateStore())
    elif name.startswith("["):
        resources["io_manager"] = dg.mem_io_manager
    return graph.to_job(name="dependencies", executor_def=EXECUTORS[executor], resource_defs=resources)


def reconstructable(name: str, executor: str) -> Any:
    """Return *name* as `dg.execute_job` takes it."""
    return dg.build_reconstructable_job(__name__, "job", (name, executor))
