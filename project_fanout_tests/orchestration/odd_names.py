"""Stages that are called like nothing that Dagster accepts, or like what is in a fan-out's graph anyway."""

from typing import Any

from project_fanout.engine import Unit


def _with_its_name(name: str) -> Any:
    def stage(unit: Unit) -> Any:
        return [*(unit.payload if isinstance(unit.payload, list) else []), name]

    stage.__name__ = stage.__qualname__ = name
    globals()[name] = stage
    return stage


NAMES = [
    *("process_record", "input", "config", "type", "обработать", "обработки", "trigger_records", "record"),
    *("collect_records", "Weigh", "weigh", "weigh", "weigh_stage_14", "weigh"),
]

#: A function of each name; each adds its name to the list in the unit's payload.
STAGES = [_with_its_name(name) for name in dict.fromkeys(NAMES)]
