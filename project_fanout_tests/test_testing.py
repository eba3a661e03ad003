"""`project_fanout.testing`: what a test of one's own fan-out needs."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from project_fanout.engine import FanoutPolicy, Record, Unit
from project_fanout.orchestration import build_fanout_asset
from project_fanout.testing import RunKilledError, inline_resources

_SEEN: list[str] = []


def two_letters() -> Iterator[Record]:
    """Yield two records of three units, l1 to l3 and p1 to p3."""
    for name in ("letter", "postcard"):
        yield Record(name, [Unit(f"{name[0]}{page}", page) for page in (1, 2, 3)])


def read_page(unit: Unit[int]) -> dict[str, int]:
    """Note, in this process, that it has run."""
    _SEEN.append(unit.key)
    return {"words": words_on(unit.payload)}


def words_on(page: int) -> int:
    """Return how many words there are on a page."""
    return page * 10


@pytest.fixture(autouse=True)
def seen() -> list[str]:
    _SEEN.clear()
    return _SEEN


def asset(**policy: object) -> dg.AssetsDefinition:
    """Return a fan-out over the two letters."""
    return build_fanout_asset(
        "letters",
        records=two_letters,
        stages=[read_page],
        policy=FanoutPolicy(retry_delay_s=0, strategy="sequential", **policy),  # type: ignore[arg-type]  # of any field
    )


def test_units_run_where_the_test_can_see_them(seen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In the test's own process: what it has patched is what units call."""
    monkeypatch.setattr(f"{__name__}.words_on", lambda page: page * 7)
    result = dg.materialize_to_memory([asset()], resources=inline_resources())
    assert result.output_for_node("letters")["words"].tolist() == [7, 14, 21] * 2
    assert seen == ["l1", "l2", "l3", "p1", "p2", "p3"]


def test_a_unit_fails_for_good(seen: list[str]) -> None:
    """All attempts of one fail, the others end well."""
    result = dg.materialize_to_memory(
        [asset(max_attempts=2, max_failed_ratio=1.0)], resources=inline_resources(fail_at=[("letter", "l2")])
    )
    table = result.output_for_node("letters")
    failed = table[table["status"] != "succeeded"]
    assert failed[["record_key", "unit_key", "attempts"]].to_numpy().tolist() == [["letter", "l2", 2]]
    assert "l2" not in seen


def test_a_unit_fails_at_first(seen: list[str]) -> None:
    """Its third attempt is one of the stage."""
    result = dg.materialize_to_memory(
        [asset(max_attempts=3)], resources=inline_resources(fail_at={("letter", "l2"): 2})
    )
    table = result.output_for_node("letters")
    assert table["attempts"].tolist() == [1, 3, 1, 1, 1, 1]
    assert seen.count("l2") == 1


def test_a_unit_that_is_not_there_is_a_warning() -> None:
    """Else a misspelt key makes a test that tests nothing."""
    with pytest.warns(UserWarning, match="has not run: unit 'l9' of record 'letter'"):
        dg.materialize_to_memory([asset()], resources=inline_resources(fail_at=[("letter", "l9")]))


def test_a_run_dies_and_the_next_goes_on(seen: list[str], tmp_path: Path) -> None:
    """What ended before is not run again."""
    letters = asset(reuse="always")
    with pytest.raises(RunKilledError):
        dg.materialize([letters], resources=inline_resources(tmp_path, kill_at=("postcard", "p2")))
    assert seen == ["l1", "l2", "l3", "p1"]
    seen.clear()
    result = dg.materialize([letters], resources=inline_resources(tmp_path))
    assert seen == ["p2", "p3"]
    assert result.output_for_node("letters")["words"].tolist() == [10, 20, 30] * 2
