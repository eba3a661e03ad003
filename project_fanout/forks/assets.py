"""The assets of dynamic forks, whose tasks convert pictures, and those of `extra_kwargs`."""

from collections.abc import Callable
from typing import Any

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


RemoteFilesResource = resource_of(RemoteFiles, __name__)
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
