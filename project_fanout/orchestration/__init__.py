"""The Dagster layer over the engine."""

from project_fanout.orchestration.executor import fanout_executor

__all__ = ["fanout_executor"]
