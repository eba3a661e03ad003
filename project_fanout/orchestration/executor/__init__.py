"""`fanout_executor`: a multi-threaded Dagster executor for any job, and the event log that it writes."""

from project_fanout.orchestration.executor.executor import FanoutExecutor, fanout_executor

__all__ = ["FanoutExecutor", "fanout_executor"]
