"""The policy's fields have bounds that it keeps, and defaults that work."""

import dataclasses
from typing import Any

import pytest

from project_fanout.engine import FanoutPolicy
from project_fanout.engine.errors import FanoutDefinitionError


def test_the_defaults_are_the_documented_ones() -> None:
    """Nothing has to be set: one attempt, no tolerance, an empty table when empty."""
    assert dataclasses.asdict(FanoutPolicy()) == {
        "strategy": "auto",
        "max_workers": None,
        "batch_size": 100,
        "max_per_second": None,
        "max_attempts": 1,
        "retry_delay_s": 0.5,
        "unit_timeout_s": None,
        "max_failed_ratio": 0.0,
        "fail_fast": False,
        "records_per_step": "auto",
        "max_records": None,
        "on_empty": "succeed",
        "reuse": "lineage",
        "keep_intermediates": False,
    }


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("strategy", ["sequential", "parallel", "auto"]),
        ("max_workers", [None, 1, 10_000]),
        ("max_attempts", [1, 100]),
        ("retry_delay_s", [0, 0.0, 2.5, 3600]),
        ("unit_timeout_s", [None, 0.001, 60]),
        ("max_failed_ratio", [0, 0.0, 0.5, 1, 1.0]),
        ("fail_fast", [True, False]),
        ("records_per_step", ["auto", 1, 1000]),
        ("max_records", [None, 1]),
        ("on_empty", ["succeed", "fail", "skip"]),
        ("reuse", ["lineage", "always", "never"]),
    ],
)
def test_values_within_the_bounds_are_kept(name: str, good: list[Any]) -> None:
    """The bounds themselves belong to what is accepted."""
    for value in good:
        assert getattr(FanoutPolicy(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("strategy", ["fast", "", None, 1, ["auto"]]),
        ("max_workers", [0, -1, 1.5, "2", True]),
        ("max_attempts", [0, 101, None, "1", 1.0]),
        ("retry_delay_s", [-0.1, 3601, None, "1", float("nan"), float("inf")]),
        ("unit_timeout_s", [0, -1, "5", float("nan")]),
        ("max_failed_ratio", [-0.01, 1.01, None, "0.5", True, float("nan")]),
        ("fail_fast", [0, 1, "true", None]),
        ("records_per_step", [0, None, 2.0, "many", True, "10"]),
        ("max_records", [0, "10"]),
        ("on_empty", ["ignore", None, True]),
        ("reuse", ["sometimes", None, False]),
    ],
)
def test_values_out_of_bounds_are_refused(name: str, bad: list[Any]) -> None:
    """The message names the field, the value and what is accepted."""
    for value in bad:
        with pytest.raises(FanoutDefinitionError) as error:
            FanoutPolicy(**{name: value})
        assert str(error.value).startswith(f"FanoutPolicy: {name} is {value!r}, accepted: ")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("strategy", "one of 'sequential', 'parallel', 'auto'"),
        ("max_workers", "int | None, 1 or more"),
        ("max_attempts", "int, 1 to 100"),
        ("unit_timeout_s", "float | None, more than 0"),
        ("fail_fast", "bool"),
    ],
)
def test_a_refusal_says_what_is_accepted(name: str, said: str) -> None:
    """In the words of the Launchpad and of the table in README: type and bounds, whatever is wrong with the value."""
    for value in (-1, "much"):
        with pytest.raises(FanoutDefinitionError) as error:
            FanoutPolicy(**{name: value})
        assert str(error.value) == f"FanoutPolicy: {name} is {value!r}, accepted: {said}."


def test_all_that_is_wrong_is_said_at_once() -> None:
    """Nobody has to correct a policy field by field."""
    with pytest.raises(FanoutDefinitionError) as error:
        FanoutPolicy(max_workers=0, on_empty="ignore", max_failed_ratio=2)  # type: ignore[arg-type]  # refused
    assert all(name in str(error.value) for name in ("max_workers", "on_empty", "max_failed_ratio"))
