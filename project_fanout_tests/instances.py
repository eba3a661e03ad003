"""Dagster instances for tests."""

from pathlib import Path

import dagster as dg


def local_instance(folder: Path) -> dg.DagsterInstance:
    """Return an instance that keeps everything in *folder*, except what steps print, which nobody reads."""
    folder.mkdir(exist_ok=True)
    overrides = {
        "telemetry": {"enabled": False},
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        },
    }
    return dg.DagsterInstance.local_temp(str(folder), overrides=overrides)
