"""Where a fan-out asset finds its pool and its ledger, and what else may be there."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from project_fanout.engine import Record, Unit
from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.engine.ledger import Ledger, LedgerFilter
from project_fanout.orchestration import LedgerResource, UnitPoolResource, build_fanout_asset
from project_fanout_tests.orchestration.support import failure_text


class GeneralLedger(dg.ConfigurableResource):  # type: ignore[type-arg]  # its value is the resource itself
    """A resource of the user's own."""

    currency: str = "EUR"


def one() -> list[Record]:
    return [Record("a", [Unit("1", 1)])]


def double(unit: Unit[int]) -> int:
    return unit.payload * 2


def asset(**options: Any) -> dg.AssetsDefinition:
    return build_fanout_asset("doubled", records=one, stages=[double], **options)


@pytest.mark.parametrize(
    ("key", "wanted"), [("ledger", "LedgerResource"), ("unit_pool", "UnitPoolResource")], ids=str
)
def test_another_resource_under_one_of_the_keys_is_refused_when_definitions_load(
    key: str, wanted: str
) -> None:
    """By name, with what to do; not as an AttributeError of the trigger."""
    definitions = dg.Definitions(assets=[asset()], resources={key: GeneralLedger()})
    with pytest.raises(FanoutDefinitionError) as raised:
        definitions.resolve_all_job_defs()
    assert str(raised.value) == (
        f"The resource {key!r} is a GeneralLedger, but fan-out assets look for their {wanted} there: rename yours, "
        f"or have them look elsewhere with {key}_key= of the asset."
    )


def test_what_a_function_makes_is_refused_when_it_is_made() -> None:
    """Before, nobody can tell what it is."""
    made = dg.ResourceDefinition(lambda _: 5)
    result = dg.materialize([asset()], resources={"ledger": made}, raise_on_error=False)
    assert "The resource 'ledger' is a int, but fan-out assets look for" in failure_text(result)


def test_pool_and_ledger_have_keys_that_can_be_chosen(tmp_path: Path) -> None:
    """Beside resources that have the usual ones."""
    url = str(tmp_path / "outcomes.db")
    resources = {
        "ledger": GeneralLedger(),
        "unit_pool": GeneralLedger(),
        "outcomes": LedgerResource(url=url),
        "workers": UnitPoolResource(kind="inline"),
    }
    chosen = asset(ledger_key="outcomes", unit_pool_key="workers")
    job = dg.Definitions(
        assets=[chosen], jobs=[dg.define_asset_job("j", [chosen])], resources=resources
    ).resolve_job_def("j")
    assert job.execute_in_process().success
    with Ledger(url) as ledger:
        assert [entry.outcome.result for entry in ledger.entries(LedgerFilter())] == [2]


@pytest.mark.parametrize(
    "options", [{"ledger_key": ""}, {"ledger_key": "a b"}, {"unit_pool_key": "ledger"}], ids=str
)
def test_keys_that_cannot_be_are_refused(options: dict[str, str]) -> None:
    """When the asset is defined."""
    with pytest.raises(FanoutDefinitionError, match="accepted: "):
        asset(**options)
