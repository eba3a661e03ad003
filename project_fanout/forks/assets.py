"""The assets of dynamic forks, whose tasks convert pictures, and those of `extra_kwargs`."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from project_fanout.forks.actions import Action
from project_fanout.forks.extra_kwargs import c1, c2, generate
from project_fanout.forks.fetched import RemoteFilesOfRun, forget_fetched
from project_fanout.forks.fetching import RemoteFiles
from project_fanout.forks.fork_asset import build_fork_asset
from project_fanout.forks.image_fork import image_tasks
from project_fanout.forks.image_tasks import (
    WORKFLOW,
    convert_picture,
    fetch_picture,
    image_convert_resize,
    resize_picture,
    verify_picture,
)
from project_fanout.orchestration.settings import resource_of

__all__ = [
    "ACTIONS",
    "RESOURCES",
    "RemoteFilesResource",
    "c1",
    "c2",
    "dynamic_fork",
    "generate",
    "image_fork",
]

FORKS = "forks"
#: Key of the resource that says what may be fetched over the network.
REMOTE_FILES = "remote_files"


class RemoteFilesResource(resource_of(RemoteFiles, __name__)):  # type: ignore[misc]  # its fields are the dataclass's
    """Which files image tasks may fetch over http and https; by default none."""

    _run: str = PrivateAttr(default="")

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Note whose tasks share what they fetch."""
        self._run = context.run.run_id if context.run else ""

    def for_units(self) -> RemoteFiles:
        """Return the settings as the stage takes them, and which run fetches."""
        return RemoteFilesOfRun(**asdict(super().for_units()), run=self._run)

    def tasks_ended(self) -> None:
        """Remove what the tasks have shared; a fork says so before its join."""
        forget_fetched(self._run)


RESOURCES = {REMOTE_FILES: RemoteFilesResource()}
ACTIONS: list[Action | Callable[..., Any]] = [
    image_convert_resize,
    Action(WORKFLOW, [fetch_picture, resize_picture, convert_picture, verify_picture], version=1),
]

dynamic_fork = build_fork_asset(
    "dynamic_fork",
    actions=ACTIONS,
    resources=RESOURCES,
    group_name=FORKS,
    kinds={"python"},
    description="The tasks that its run config gives, and their join: a dict from taskReferenceName to what "
    "became of the task. Without run config it is an empty one.",
)

image_fork = build_fork_asset(
    "image_fork",
    actions=ACTIONS,
    tasks=image_tasks,
    resources=RESOURCES,
    group_name=FORKS,
    kinds={"python"},
    description="One picture in several formats and sizes, one forked task for each.",
)
