"""The assets of dynamic forks, and of one list consumed twice."""

from collections.abc import Callable
from typing import Any

import dagster as dg

from project_fanout.forks.actions import Action
from project_fanout.forks.consume import consume, each_value
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
from project_fanout.orchestration import build_fanout_asset
from project_fanout.orchestration.settings import resource_of

FORKS = "forks"
EXTRA_KWARGS = "extra_kwargs"
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


@dg.asset(group_name=EXTRA_KWARGS, kinds={"python"})
def generate() -> list[int]:
    """The numbers 0 to 9."""
    return list(range(10))


c1 = build_fanout_asset(
    "c1",
    records=each_value,
    stages=[consume],
    ins={"generate": generate},
    params={"extra_param1": "hello world"},
    group_name=EXTRA_KWARGS,
    kinds={"python"},
    description="What `generate` holds, consumed with the default of extra_param2, 42.",
)

c2 = build_fanout_asset(
    "c2",
    records=each_value,
    stages=[consume],
    ins={"generate": generate},
    params={"extra_param1": "hello world", "extra_param2": "123"},
    group_name=EXTRA_KWARGS,
    kinds={"python"},
    description="What `generate` holds, consumed with another value of extra_param2, 123.",
)
