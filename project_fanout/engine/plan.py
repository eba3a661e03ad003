"""What is done with one record: its stages with their params, and its policy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from project_fanout.engine.per_worker import SetUp
from project_fanout.engine.policy import FanoutPolicy
from project_fanout.engine.stages import Stage


@dataclass(frozen=True)
class PlannedStage:
    """A stage with values for its params.

    Args:
        stage: the stage.
        params: values of its params.
        params_json: the same as JSON text, with those of its set-ups, for the fingerprints of units.
        set_ups: what each worker makes once for it, by the parameter that takes it.
    """

    stage: Stage
    params: Mapping[str, Any]
    params_json: str
    set_ups: tuple[tuple[str, SetUp], ...] = ()


@dataclass(frozen=True)
class Plan:
    """The way that one record goes, where the records of a fan-out differ.

    Args:
        stages: at least one; each takes what the one before it returned.
        policy: how the record's units run. What concerns the whole fan-out (`max_records`,
            `records_per_step`, `on_empty`, `max_failed_ratio`) is the asset's own.
    """

    stages: tuple[PlannedStage, ...]
    policy: FanoutPolicy
