"""Every name of Dagster's internals that the executor, the event log and the Launchpad's types use, and no other.

Dagster has no public way to run steps in threads, to start a mapped step before its producer has
ended, to keep a connection of its event log open, or to name a config type of one's own. These names
can move in any minor release, so setup.cfg pins the minor version, this module is the only one that
may import `dagster._core`, and `test_executor_internals.py` says by name what has moved. Checked
against 1.13.
"""

from dagster._config.config_type import ConfigType, ConfigTypeKind
from dagster._config.pythonic_config import IAttachDifferentObjectToOpContext
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.definitions.scoped_resources_builder import ScopedResourcesBuilder
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
    DagsterEvent,
    EngineEventData,
    HandledOutputData,
)
from dagster._core.execution.api import ExecuteRunWithPlanIterable
from dagster._core.execution.compute_logs import create_compute_log_file_key
from dagster._core.execution.context.system import (
    PlanExecutionContext,
    PlanOrchestrationContext,
    StepExecutionContext,
)
from dagster._core.execution.context_creation_job import (
    PlanExecutionContextManager,
)
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.execute_plan import (
    _trigger_hook,
    dagster_event_sequence_for_step,
)
from dagster._core.execution.plan.inputs import (
    FromPendingDynamicStepOutput,
    UnresolvedMappedStepInput,
)
from dagster._core.execution.plan.instance_concurrency_context import (
    InstanceConcurrencyContext,
)
from dagster._core.execution.plan.objects import ErrorSource, StepFailureData
from dagster._core.execution.plan.outputs import StepOutputHandle
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.plan.step import (
    ExecutionStep,
    UnresolvedCollectExecutionStep,
    UnresolvedMappedExecutionStep,
)
from dagster._core.execution.resources_init import resource_initialization_manager
from dagster._core.execution.retries import RetryMode, get_retries_config
from dagster._core.execution.step_dependency_config import (
    StepDependencyConfig,
    get_step_dependency_config_field,
)
from dagster._core.execution.tags import (
    get_tag_concurrency_limits_config,
)
from dagster._core.executor.child_process_executor import _execute_command_in_child_process
from dagster._core.log_manager import DagsterLogManager
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType, ComputeLogManager
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    SqliteEventLogStorage,
)
from dagster._core.storage.tags import GLOBAL_CONCURRENCY_TAG, PRIORITY_TAG
from dagster._utils.error import (
    serializable_error_info_from_exc_info,
)
from dagster._utils.interrupts import capture_interrupts, check_captured_interrupt, pop_captured_interrupt
from dagster._utils.tags import TagConcurrencyLimitsCounter
from dagster_shared import telemetry
from dagster_shared.error import SerializableErrorInfo

__all__ = [
    "ASSET_CHECK_EVENTS",
    "ASSET_EVENTS",
    "EVENT_TYPE_TO_PIPELINE_RUN_STATUS",
    "GLOBAL_CONCURRENCY_TAG",
    "PRIORITY_TAG",
    "ActiveExecution",
    "CapturedLogContext",
    "ComputeIOType",
    "ComputeLogManager",
    "ConfigType",
    "ConfigTypeKind",
    "DagsterEvent",
    "DagsterExecutionInterruptedError",
    "DagsterLogManager",
    "EngineEventData",
    "ErrorSource",
    "ExecuteRunWithPlanIterable",
    "ExecutionPlan",
    "ExecutionStep",
    "FromPendingDynamicStepOutput",
    "HandledOutputData",
    "IAttachDifferentObjectToOpContext",
    "InstanceConcurrencyContext",
    "KnownExecutionState",
    "PlanExecutionContext",
    "PlanExecutionContextManager",
    "PlanOrchestrationContext",
    "ReconstructableRepository",
    "RetryMode",
    "ScopedResourcesBuilder",
    "SerializableErrorInfo",
    "SqlEventLogStorageTable",
    "SqliteEventLogStorage",
    "StepDependencyConfig",
    "StepExecutionContext",
    "StepFailureData",
    "StepOutputHandle",
    "TagConcurrencyLimitsCounter",
    "UnresolvedCollectExecutionStep",
    "UnresolvedMappedExecutionStep",
    "UnresolvedMappedStepInput",
    "_execute_command_in_child_process",
    "_trigger_hook",
    "capture_interrupts",
    "check_captured_interrupt",
    "create_compute_log_file_key",
    "dagster_event_sequence_for_step",
    "get_retries_config",
    "get_step_dependency_config_field",
    "get_tag_concurrency_limits_config",
    "pop_captured_interrupt",
    "resource_initialization_manager",
    "serializable_error_info_from_exc_info",
    "telemetry",
]
