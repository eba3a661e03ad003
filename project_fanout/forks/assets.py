"""The assets of dynamic forks, whose tasks convert pictures, and those of `extra_kwargs`."""

from collections.abc import Callable
from typing import Any

import dagster as dg
from pydantic import Field

from project_fanout.forks.actions import Action
from project_fanout.forks.extra_kwargs import c1, c2, generate
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


class RemoteFilesResource(dg.ConfigurableResource):  # type: ignore[type-arg]  # its value is the resource itself
    """Which files image tasks may fetch over http and https; by default none."""

    allowed_hosts: list[str] = Field(
        default=[],
        description="Hosts to fetch from: `host` for the scheme's own port, `host:port` for another.",
    )
    max_bytes: int = Field(default=RemoteFiles.max_bytes, ge=1, description="Size of the largest file.")
    timeout_s: float = Field(default=RemoteFiles.timeout_s, gt=0, description="Seconds for all of one file.")

    def for_units(self) -> RemoteFiles:
        """Return the limits as the stages take them."""
        return RemoteFiles(tuple(self.allowed_hosts), self.max_bytes, self.timeout_s)


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
