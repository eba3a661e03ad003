"""Log capture that tells the steps of a run apart when they run in threads."""

import logging

from project_fanout.orchestration.executor.step_threads import current_step
from project_fanout.orchestration.internals import DagsterLogManager


class StepLogManager(DagsterLogManager):
    """A log manager that captures from Python loggers only what its own step has logged.

    While a step runs, Dagster hangs the step's handler on `get_dagster_logger()` and on the loggers
    that the instance manages, which are global: with several steps at once, the first of them would
    get the records of all.
    """

    @classmethod
    def over(cls, log: DagsterLogManager) -> "StepLogManager":
        """Return a log manager that writes what and where *log* does."""
        return cls(
            dagster_handler=log._dagster_handler,  # there is no public way to it
            level=log.level,
            managed_loggers=log._managed_loggers,
        )

    def begin_python_log_capture(self) -> None:
        self._capture = _OwnRecords(self._dagster_handler, self.metadata["run_id"], self.metadata["step_key"])
        for logger in self._managed_loggers:
            logger.addHandler(self._capture)

    def end_python_log_capture(self) -> None:
        for logger in self._managed_loggers:
            logger.removeHandler(self._capture)

    def with_tags(self, **new_tags: str) -> "StepLogManager":
        return StepLogManager.over(super().with_tags(**new_tags))


class _OwnRecords(logging.Handler):
    """Hands on the records of one step, and those that no step is known for."""

    def __init__(self, target: logging.Handler, run_id: str | None, step_key: str | None) -> None:
        super().__init__()
        self._target = target
        self._owner = (run_id, step_key)

    def filter(self, record: logging.LogRecord) -> bool:  # who logs decides
        return current_step() in (None, self._owner)

    def emit(self, record: logging.LogRecord) -> None:
        self._target.handle(record)
