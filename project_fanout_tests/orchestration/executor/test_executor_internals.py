"""A new Dagster says by name what of its internals has moved."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import dagster
import pytest

PACKAGE = Path(__file__).parents[3] / "project_fanout"
SOURCE = PACKAGE / "orchestration" / "internals.py"


def imported_names() -> list[tuple[str, str]]:
    """Return module and name of every import in internals.py."""
    return [
        (node.module or "", alias.name)
        for node in ast.parse(SOURCE.read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]


@pytest.mark.parametrize(("module", "name"), imported_names(), ids=str)
def test_dagster_has_every_internal_name(module: str, name: str) -> None:
    """A name that has moved is named, with the Dagster that has moved it."""
    assert hasattr(importlib.import_module(module), name) or importlib.import_module(f"{module}.{name}"), (
        f"Dagster {dagster.__version__} has no {module}.{name}: adapt project_fanout/orchestration/internals.py "
        "and what uses it, or pin Dagster below this version in setup.cfg."
    )


#: What the executor calls or overrides by name on these classes.
MEMBERS = {
    "ActiveExecution": [
        "_update", "_should_skip_step", "_mark_complete", "_prep_for_dynamic_outputs", "_resolve_any_dynamic_outputs",
        "concurrency_event_iterator", "get_known_state", "get_steps_to_execute", "handle_event", "is_complete",
        "mark_abandoned", "mark_failed", "mark_interrupted", "mark_skipped", "mark_success", "mark_up_for_retry",
        "plan_events_iterator", "verify_complete",
    ],
    "DagsterLogManager": ["begin_python_log_capture", "end_python_log_capture", "with_tags"],
    "ExecutionPlan": ["step_dict", "step_dict_by_key", "executable_map", "resolvable_map", "step_handles_to_execute"],
    "InstanceConcurrencyContext": ["claim", "free_step"],
    "PlanExecutionContext": ["for_step", "event_loop"],
    "SqliteEventLogStorage": ["store_event", "run_connection", "conn_string_for_shard", "_event_to_row"],
    "UnresolvedMappedExecutionStep": ["resolve", "resolved_by_step_key", "resolved_by_output_name"],
    "UnresolvedCollectExecutionStep": ["resolve"],
}  # fmt: skip

#: Attributes that ActiveExecution sets on itself and its subclass reads or replaces.
ATTRIBUTES = [
    "_pending", "_in_flight", "_success", "_failed", "_skipped", "_abandoned", "_pending_skip", "_pending_abandon",
    "_waiting_to_retry", "_new_dynamic_mappings", "_completed_dynamic_outputs", "_step_outputs", "_sort_key_fn",
    "_retry_state", "_tag_concurrency_limits", "_instance_concurrency_context", "_plan",
]  # fmt: skip


@pytest.mark.parametrize(
    ("owner", "member"), [(owner, member) for owner in MEMBERS for member in MEMBERS[owner]]
)
def test_the_classes_have_every_member(owner: str, member: str) -> None:
    """A method that the executor overrides or calls still exists under its name."""
    from project_fanout.orchestration import internals

    assert hasattr(getattr(internals, owner), member), (
        f"Dagster {dagster.__version__}: {owner} has no {member}."
    )


def test_the_state_machine_has_every_attribute() -> None:
    """An attribute that the executor's state machine shares with Dagster's still has its name."""
    from project_fanout.orchestration import internals

    source = inspect.getsource(internals.ActiveExecution.__init__)
    missing = [name for name in ATTRIBUTES if f"self.{name}" not in source]
    assert not missing, f"Dagster {dagster.__version__}: ActiveExecution does not set {missing}."


def test_resources_can_be_initialised_with_the_loop_at_hand() -> None:
    """Dagster still lets an executor initialise the resources, and hands it the run's event loop for that."""
    from project_fanout.orchestration import internals

    taken = inspect.signature(internals.PlanExecutionContextManager).parameters
    handed = inspect.signature(internals.resource_initialization_manager).parameters
    assert "scoped_resources_builder_cm" in taken, f"Dagster {dagster.__version__}"
    assert "event_loop" in handed, f"Dagster {dagster.__version__}"


INTERNAL = re.compile(r"^ *(?:from|import) +dagster(?:\._|_shared|_postgres).*", re.MULTILINE)


def test_no_other_module_imports_internals() -> None:
    """`dagster._core` and its like are imported in one module only."""
    offenders = [
        f"{path.relative_to(PACKAGE)}: {found[0].strip()}"
        for path in PACKAGE.rglob("*.py")
        if path != SOURCE
        for found in INTERNAL.finditer(path.read_text())
    ]
    assert not offenders
