"""Every name of Dagster's internals that the executor and the event log use, and no other.

Dagster has no public way to run steps in threads, to start a mapped step before its producer has
ended, or to keep a connection of its event log open. These names can move in any minor release, so
setup.cfg pins the minor version, this module is the only one that may import `dagster._core`, and
`test_executor_internals.py` says by name what has moved. Checked against 1.13.
"""

from dagster._core.errors import DagsterExecutionInterruptedError as DagsterExecutionInterruptedError
from dagster._core.events import ASSET_CHECK_EVENTS as ASSET_CHECK_EVENTS
from dagster._core.events import ASSET_EVENTS as ASSET_EVENTS
from dagster._core.events import EVENT_TYPE_TO_PIPELINE_RUN_STATUS as EVENT_TYPE_TO_PIPELINE_RUN_STATUS
from dagster._core.events import DagsterEvent as DagsterEvent
from dagster._core.events import EngineEventData as EngineEventData
from dagster._core.execution.api import ExecuteRunWithPlanIterable as ExecuteRunWithPlanIterable
from dagster._core.execution.compute_logs import create_compute_log_file_key as create_compute_log_file_key
from dagster._core.execution.context.system import PlanExecutionContext as PlanExecutionContext
from dagster._core.execution.context.system import PlanOrchestrationContext as PlanOrchestrationContext
from dagster._core.execution.context.system import StepExecutionContext as StepExecutionContext
from dagster._core.execution.context_creation_job import (
    PlanExecutionContextManager as PlanExecutionContextManager,
)
from dagster._core.execution.plan.active import ActiveExecution as ActiveExecution
from dagster._core.execution.plan.execute_plan import _trigger_hook as _trigger_hook
from dagster._core.execution.plan.execute_plan import (
    dagster_event_sequence_for_step as dagster_event_sequence_for_step,
)
from dagster._core.execution.plan.inputs import (
    FromPendingDynamicStepOutput as FromPendingDynamicStepOutput,
)
from dagster._core.execution.plan.inputs import UnresolvedMappedStepInput as UnresolvedMappedStepInput
from dagster._core.execution.plan.instance_concurrency_context import (
    InstanceConcurrencyContext as InstanceConcurrencyContext,
)
from dagster._core.execution.plan.objects import ErrorSource as ErrorSource
from dagster._core.execution.plan.objects import StepFailureData as StepFailureData
from dagster._core.execution.plan.plan import ExecutionPlan as ExecutionPlan
from dagster._core.execution.plan.state import KnownExecutionState as KnownExecutionState
from dagster._core.execution.plan.step import ExecutionStep as ExecutionStep
from dagster._core.execution.plan.step import (
    UnresolvedCollectExecutionStep as UnresolvedCollectExecutionStep,
)
from dagster._core.execution.plan.step import (
    UnresolvedMappedExecutionStep as UnresolvedMappedExecutionStep,
)
from dagster._core.execution.retries import RetryMode as RetryMode
from dagster._core.execution.retries import get_retries_config as get_retries_config
from dagster._core.execution.tags import (
    get_tag_concurrency_limits_config as get_tag_concurrency_limits_config,
)
from dagster._core.log_manager import DagsterLogManager as DagsterLogManager
from dagster._core.storage.compute_log_manager import CapturedLogContext as CapturedLogContext
from dagster._core.storage.compute_log_manager import ComputeIOType as ComputeIOType
from dagster._core.storage.compute_log_manager import ComputeLogManager as ComputeLogManager
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage as SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    SqliteEventLogStorage as SqliteEventLogStorage,
)
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS as SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.tags import GLOBAL_CONCURRENCY_TAG as GLOBAL_CONCURRENCY_TAG
from dagster._core.storage.tags import PRIORITY_TAG as PRIORITY_TAG
from dagster._utils.error import (
    serializable_error_info_from_exc_info as serializable_error_info_from_exc_info,
)
from dagster._utils.interrupts import capture_interrupts as capture_interrupts
from dagster._utils.interrupts import pop_captured_interrupt as pop_captured_interrupt
from dagster._utils.tags import TagConcurrencyLimitsCounter as TagConcurrencyLimitsCounter
from dagster_shared import telemetry as telemetry
from dagster_shared.error import SerializableErrorInfo as SerializableErrorInfo
