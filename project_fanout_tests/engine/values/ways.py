"""Values on their whole way, for the tests of every pool: to a worker, between stages, through a ledger."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from project_fanout.engine import FanoutPolicy, Record, Unit, UnitOutcome
from project_fanout.engine.ledger import Ledger, LedgerScope
from project_fanout.engine.memory import LedgerMemory
from project_fanout.engine.policy import Reuse
from project_fanout.engine.pools.calls import UnitPool
from project_fanout.engine.record_state import RecordState
from project_fanout.engine.runner import StageRun
from project_fanout.engine.stages import describe_stage
from project_fanout.engine.tally import Tally
from project_fanout.engine.values import ValueStore
from project_fanout_tests.engine.values import value_stages as stages
from project_fanout_tests.engine.values.samples import VALUES, same
from project_fanout_tests.nightly import NIGHTLY


def travel(
    values: Sequence[Any],
    functions: Sequence[Any],
    pool: UnitPool,
    *,
    memory: LedgerMemory | None = None,
    store: ValueStore | None = None,
    policy: FanoutPolicy | None = None,
    tally: Tally | None = None,
    **params: Any,
) -> list[UnitOutcome]:
    """Take a unit for each of *values* through the stages *functions*, and return what became of them."""
    record = Record("r", [Unit(str(number), value) for number, value in enumerate(values)])
    going = [RecordState.of(record, store)]
    for index, function in enumerate(functions):
        stage = describe_stage(function)
        taken = {name: params[name] for name in stage.params if name in params}
        going = StageRun(
            stage=stage,
            index=index,
            is_last=index + 1 == len(functions),
            params=taken,
            params_json=json.dumps(taken, sort_keys=True),
            policy=policy or FanoutPolicy(),
            pool=pool,
            tally=tally or Tally(),
            budget="asset",
            memory=memory,
            store=store,
        ).advance(going)
    return list(going[0].outcome.units)


def check_ways(values: list[Any], pool: UnitPool, folder: Path, url: str) -> None:
    """Take *values* through two stages and the ledger at *url*, again in the same lineage, and in another one."""
    marks = folder / "marks"
    marks.mkdir(exist_ok=True)
    before = len(list(marks.iterdir()))
    scope = LedgerScope(f"lineage {before}", f"asset {folder.name}")
    reuses: list[tuple[Reuse, LedgerScope]] = [("lineage", scope), ("lineage", scope)]
    reuses.append(("always", LedgerScope(f"other lineage {before}", scope.asset)))
    for reuse, own in reuses:
        with Ledger(url) as ledger:
            memory = LedgerMemory(ledger, own, "run", "1", reuse)
            ended = travel(
                values, [stages.fan_out_payload, stages.echo], pool, memory=memory, folder=str(marks)
            )
        assert [outcome.error for outcome in ended] == [None] * 2 * len(values)
        for number, value in enumerate(values):
            own_result, in_list = ended[2 * number].result, ended[2 * number + 1].result
            assert same(value, own_result), (reuse, value, own_result)
            assert same([value], in_list), (reuse, value, in_list)
    # Only the first run ran them, so what the others have returned came out of the ledger.
    assert len(list(marks.iterdir())) - before == 2 * len(values)


LISTS = st.lists(VALUES, min_size=25, max_size=25)
FEW = settings(
    max_examples=200 if NIGHTLY else 4,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)
