"""How a fan-out runs: strategy, limits, retries, deadlines and tolerance."""

import math
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from project_fanout.engine.errors import FanoutDefinitionError

Strategy = Literal["sequential", "parallel", "auto"]
OnEmpty = Literal["succeed", "fail", "skip"]
Reuse = Literal["lineage", "always", "never"]

#: No attempt waits longer for its turn; a delay that doubles would soon outlast any run, and any timer.
LONGEST_DELAY_S = 3600


def _setting(default: Any, description: str, **bounds: float) -> Any:
    return field(default=default, metadata={"description": description, **bounds})


@dataclass(frozen=True, kw_only=True)
class FanoutPolicy:
    """How a fan-out runs; each field can be overridden under `config: policy:` of a run.

    Raises:
        FanoutDefinitionError: a value is of the wrong type or out of its bounds.
    """

    strategy: Strategy = _setting(
        "auto",
        "Whether a record hands the pool its units one after the other (sequential), all at once "
        "(parallel), or as many as keep the pool busy given the records in progress (auto).",
    )
    max_workers: int | None = _setting(
        None,
        "Most units of this asset in work at once. Default: as many as the pool has workers, which "
        "is the CPUs this process may use.",
        ge=1,
    )
    max_attempts: int = _setting(
        1,
        "How often a unit is tried before its failure counts; once for a FinalError or a result that cannot travel.",
        ge=1,
        le=100,
    )
    retry_delay_s: float = _setting(
        0.5,
        "Seconds before the second attempt of a unit; doubled before each further one up to an hour, and "
        "each time made up to half shorter or longer by chance, so that retries do not arrive together.",
        ge=0,
        le=LONGEST_DELAY_S,
    )
    unit_timeout_s: float | None = _setting(
        None,
        "Seconds that one attempt of a unit may take; then its worker is killed. Default: no limit.",
        gt=0,
    )
    max_failed_ratio: float = _setting(
        0.0,
        "Share of the table's rows that may be without success. Above it the run fails; at or below it the "
        "asset materialises and its check tells what is missing. A unit that an early stage loses is one row, "
        "however many it would have become.",
        ge=0,
        le=1,
    )
    fail_fast: bool = _setting(
        default=False,
        description="Stop handing out units once max_failed_ratio is out of reach. Above 0 that is known only "
        "with a single stage, in the run and process that found the records.",
    )
    records_per_step: int = _setting(
        1, "Records that share one mapped step; more than 1 for very small records.", ge=1
    )
    max_records: int | None = _setting(
        None,
        "Refuse, before the first unit runs, to fan out over more records than this. With a limit "
        "the list of records is completed before the first record starts. Default: no limit.",
        ge=1,
    )
    on_empty: OnEmpty = _setting(
        "succeed",
        "When there is no record: materialise an empty table (succeed), fail the run (fail), or leave "
        "the asset as it is (skip).",
    )
    reuse: Reuse = _setting(
        "lineage",
        "Which units that succeeded before with the same key, payload and params are not run again: those of "
        "this run's lineage, that is of the run that this one re-executes (lineage), those of any run of the "
        "asset, or of its partition, with the same code_version (always), or none (never).",
    )
    keep_intermediates: bool = _setting(
        default=False,
        description="Keep what the steps have stored for each other when the asset has materialised, so that "
        "single steps of that run can be executed again. Default: it is removed; the ledger keeps the outcomes.",
    )

    def __post_init__(self) -> None:
        problems = [problem for each in fields(self) if (problem := _problem(each, getattr(self, each.name)))]
        if problems:
            raise FanoutDefinitionError("FanoutPolicy: " + "; ".join(problems) + ".")


#: What each field of FanoutPolicy accepts; a tuple of texts is a closed choice.
ACCEPTED: dict[str, type | tuple[str, ...]] = {
    "strategy": get_args(Strategy),
    "max_workers": int,
    "max_attempts": int,
    "retry_delay_s": float,
    "unit_timeout_s": float,
    "max_failed_ratio": float,
    "fail_fast": bool,
    "records_per_step": int,
    "max_records": int,
    "on_empty": get_args(OnEmpty),
    "reuse": get_args(Reuse),
    "keep_intermediates": bool,
}


def bounds_text(metadata: Any) -> str:
    """Say the bounds of a policy field in words, e.g. "1 to 100", or "" where there are none."""
    if "ge" in metadata and "le" in metadata:
        return f"{metadata['ge']} to {metadata['le']}"
    if "ge" in metadata:
        return f"{metadata['ge']} or more"
    return f"more than {metadata['gt']}" if "gt" in metadata else ""


def _problem(setting: Any, value: object) -> str | None:
    accepted = ACCEPTED[setting.name]
    if value is None and setting.default is None:
        return None
    if isinstance(accepted, tuple):
        return None if value in accepted else f"{setting.name} is {value!r}, accepted: {', '.join(accepted)}"
    numeric = (int, float) if accepted is float else (accepted,)
    if not isinstance(value, numeric) or (accepted is not bool and isinstance(value, bool)):
        wanted = f"{accepted.__name__} {bounds_text(setting.metadata)}".rstrip()
        return f"{setting.name} is {value!r}, accepted: {wanted}"
    low, above, high = (setting.metadata.get(name) for name in ("ge", "gt", "le"))
    number: Any = value
    if (
        (low is not None and not number >= low)
        or (above is not None and not number > above)
        or (high is not None and not number <= high)
    ):
        return f"{setting.name} is {value!r}, accepted: {bounds_text(setting.metadata)}"
    return None


def available_cpus() -> int:
    """Return how many CPUs this process may use, at least 1: its affinity, capped by its cgroup's quota."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    quota = _cgroup_cpus()
    return max(1, min(allowed, math.ceil(quota)) if quota else allowed)


def _cgroup_cpus(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return the CPU quota of this container in CPUs, None without one (cgroup v2, then v1)."""
    for name in ("cpu.max", "cpu/cpu.cfs_quota_us"):
        try:
            text = (root / name).read_text().split()
            period = text[1] if name == "cpu.max" else (root / "cpu/cpu.cfs_period_us").read_text()
            quota = float(text[0])
        except (OSError, ValueError, IndexError):
            continue
        if quota > 0:
            return quota / float(period)
    return None
