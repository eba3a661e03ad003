"""The policy's fields have bounds that it keeps, and defaults that work."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from project_fanout.engine import FanoutPolicy, available_cpus
from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.engine.policy import _cgroup_cpus


def test_the_defaults_are_the_documented_ones() -> None:
    """Nothing has to be set: one attempt, no tolerance, one record a step, an empty table when empty."""
    assert dataclasses.asdict(FanoutPolicy()) == {
        "strategy": "auto",
        "max_workers": None,
        "max_attempts": 1,
        "retry_delay_s": 0.5,
        "unit_timeout_s": None,
        "max_failed_ratio": 0.0,
        "fail_fast": False,
        "records_per_step": 1,
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
        ("records_per_step", [1, 1000]),
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
        ("records_per_step", [0, None, 2.0]),
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


def test_available_cpus_follows_the_affinity() -> None:
    """Under `taskset` to one CPU a process may use one, whatever the machine has."""
    one = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{one}}})\n"
        "from project_fanout.engine import available_cpus; print(available_cpus())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert run.stdout.strip() == "1"
    assert 1 <= available_cpus() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "25000 50000"}, 0.5),
        ({"cpu.max": "rubbish"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "200000\n"}, None),
    ],
)
def test_the_quota_of_a_container_counts(tmp_path: Path, files: dict[str, str], cpus: float | None) -> None:
    """Both generations of cgroups are read; what cannot be read is no quota."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert _cgroup_cpus(tmp_path) == cpus
