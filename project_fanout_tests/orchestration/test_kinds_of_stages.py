"""An asset of coroutines, batches and functions, with what their workers set up once."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from project_fanout.engine import FanoutPolicy, Record, Unit, per_worker
from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.forks import build_fork_asset
from project_fanout.orchestration import LedgerResource, UnitPoolResource, build_fanout_asset
from project_fanout_tests.orchestration import kinds_work as work
from project_fanout_tests.orchestration.support import failure_text, materialization

SUPPLIED: dict[str, Any] = {
    "session": work.session,
    "weights": work.weights,
    "vocabulary": work.Vocabulary(),
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A web server of one's own, in a process of its own."""
    command = [sys.executable, "-m", work.__name__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.kill()


def asset(name: str = "embeddings", **options: Any) -> dg.AssetsDefinition:
    """Return an asset with a chain of all three kinds."""
    return build_fanout_asset(
        name, records=work.pages, stages=[work.fetch, work.embed, work.total], resources=SUPPLIED, **options
    )


def expected(numbers: range, seed: int = 1) -> list[float]:
    """Return what a plain loop gives."""
    weights = np.random.default_rng(seed).normal(size=(4, 3))
    return [float(((number * np.arange(4.0)) @ weights).sum()) for number in numbers]


@pytest.mark.parametrize("kind", ["process", "inline", "ray"])
def test_a_chain_of_all_kinds_gives_what_a_loop_gives(kind: Any, url: str) -> None:
    """In every pool: rows in order, one per unit."""
    if kind == "ray":
        pytest.importorskip("ray")
    result = dg.materialize_to_memory(
        [asset()],
        resources={
            "unit_pool": UnitPoolResource(kind=kind, **({} if kind == "inline" else {"max_workers": 2}))
        },
        run_config={"ops": {"embeddings": {"config": {"params": {"url": url, "records": 3, "seed": 2}}}}},
    )
    table = result.output_for_node("embeddings")
    assert list(table["status"]) == ["succeeded"] * 24
    assert list(table["unit_key"][:8]) == [f"p{page}" for page in range(8)]
    np.testing.assert_allclose(table["total"], expected(range(24), seed=2))


@pytest.mark.parametrize(
    ("pool", "most"),
    [({"max_workers": 2}, 2), ({"max_workers": 2, "units_per_worker": 4}, 8), ({"kind": "inline"}, None)],
)
def test_a_limit_that_the_pool_does_not_reach_says_so(
    pool: dict[str, Any], most: int | None, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once for a stage, with the settings to change; coroutines, of which a worker takes 100, have room enough."""
    dg.materialize_to_memory(
        [asset(policy=FanoutPolicy(max_workers=64))],
        resources={"unit_pool": UnitPoolResource(**pool)},
        run_config={"ops": {"embeddings": {"config": {"params": {"url": url, "records": 2}}}}},
    )
    said = [
        line for line in capsys.readouterr().err.splitlines() if "max_workers of the policy is 64" in line
    ]
    stages = [] if most is None else ["fetch", "embed", "total"]
    if pool.get("units_per_worker") is None:
        stages = stages[1:]
    assert len(said) == len(stages)
    for stage, line in zip(stages, said, strict=True):
        assert f"no more units of {stage} than {most} at once" in line


@pytest.mark.parametrize("stage", [work.start, work.start_coroutine])
def test_runs_that_share_a_ledger_share_the_rate(stage: Any, tmp_path: Path) -> None:
    """Two runs of the asset at the same time start no more than 40 units a second together."""
    rated = build_fanout_asset(
        "rated", records=work.rated_records, stages=[stage], policy=FanoutPolicy(max_per_second=40)
    )

    def starts(run: int) -> list[float]:
        result = dg.materialize_to_memory(
            [rated],
            resources={
                "unit_pool": UnitPoolResource(max_workers=2),
                "ledger": LedgerResource(url=str(tmp_path / "ledger.db")),
            },
            tags={"run": str(run)},
        )
        return list(result.output_for_node("rated")["started"])

    with ThreadPoolExecutor(2) as threads:
        found = sorted(each for some in threads.map(starts, range(2)) for each in some)
    assert len(found) == 60
    assert max(sum(first <= each < first + 1 for each in found) for first in found) <= 40
    assert found[-1] - found[0] >= 59 / 40


def test_params_of_set_ups_are_params_of_the_asset(url: str) -> None:
    """They stand in the run config with their types, and a wrong one is refused before anything starts."""
    config = {"ops": {"embeddings": {"config": {"params": {"url": url, "seed": "x", "timeout_s": 5}}}}}
    with pytest.raises(dg.DagsterError, match=r"seed is 'x', accepted: int"):
        dg.materialize_to_memory([asset()], run_config=config)


def test_a_unit_with_another_set_up_is_another_unit(url: str, tmp_path: Path) -> None:
    """`reuse: always` takes what was computed with the same model, and nothing that another one gave."""
    resources = {
        "unit_pool": UnitPoolResource(max_workers=1),
        "ledger": LedgerResource(url=str(tmp_path / "ledger.db")),
    }

    def run(seed: int) -> tuple[list[float], int]:
        params = {"url": url, "records": 1, "seed": seed}
        policy = {"reuse": "always"}
        result = dg.materialize_to_memory(
            [asset()],
            resources=resources,
            run_config={"ops": {"embeddings": {"config": {"params": params, "policy": policy}}}},
        )
        table = result.output_for_node("embeddings")
        return list(table["total"]), materialization(result, asset()).get("reused", 0)

    first, none = run(1)
    same, all_of_them = run(1)
    other, fetched = run(2)
    assert (first, none, all_of_them) == (same, 0, 24)
    assert first != other
    assert fetched == 8 + 1  # all pages, and the sum of what any model makes of 0


def test_a_run_whose_set_up_fails_stops_early_and_says_it_once() -> None:
    """Of 60 units with three attempts each, ten find out that there is no model."""
    broken = build_fanout_asset(
        "predictions",
        records=sixty,
        stages=[use_missing],
        resources={"missing": missing},
        policy=FanoutPolicy(max_attempts=1),
    )
    result = dg.materialize_to_memory(
        [broken], resources={"unit_pool": UnitPoolResource(max_workers=1)}, raise_on_error=False
    )
    said = failure_text(result)
    assert (
        said.count("SetupError: per_worker missing could not be set up: FileNotFoundError: no model.bin") == 1
    )
    assert "more units were not started, because their stage had not worked for any unit so far." in said


def sixty() -> list[Record]:
    return [Record(f"r{n}", [Unit(f"u{m}") for m in range(20)]) for n in range(3)]


@per_worker
def missing() -> None:
    raise FileNotFoundError("no model.bin")


def use_missing(unit: Unit, *, missing: None) -> None:
    """Never run."""


@pytest.mark.parametrize(
    ("resources", "stage", "message"),
    [
        ({"session": work.session}, "sync", "session is asynchronous, accepted for coroutine stages alone"),
        ({"weights": per_worker(lambda: 1)}, "batch", "A lambda from .* is not a set-up: it has no name"),
    ],
)
def test_a_set_up_that_cannot_serve_is_refused_when_the_asset_is_built(
    resources: dict[str, Any], stage: str, message: str
) -> None:
    """Before any run, with what to write."""
    stages = {"sync": sync_with_session, "batch": work.embed}
    resources = {**({"vocabulary": work.Vocabulary()} if stage == "batch" else {}), **resources}
    with pytest.raises(FanoutDefinitionError, match=message):
        build_fanout_asset("refused", records=work.pages, stages=[stages[stage]], resources=resources)


def sync_with_session(unit: Unit, *, session: Any) -> None:
    """Could not use it."""


def test_a_task_of_a_fork_is_set_up_likewise() -> None:
    """The params of a set-up are inputs of the tasks: each task has the model that it asks for."""
    fork = build_fork_asset("fork", actions=[work.weigh], resources={"weights": work.weights})
    seeds = {"one": 1, "other": 2, "same": 1}
    config = {
        "dynamicTasks": [{"name": "weigh", "taskReferenceName": name} for name in seeds],
        "dynamicTasksInput": {name: {"number": 3, "seed": seed} for name, seed in seeds.items()},
    }
    result = dg.materialize_to_memory(
        [fork],
        resources={"unit_pool": UnitPoolResource(max_workers=1)},
        run_config={"ops": {"fork": {"config": config}}},
    )
    outputs = {name: task["output"] for name, task in result.output_for_node("fork").items()}
    assert outputs["one"] == outputs["same"] != outputs["other"]
