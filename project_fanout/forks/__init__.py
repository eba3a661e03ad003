"""Dynamic fork and join: tasks that are known only at run time, and may differ from each other."""

from typing import TYPE_CHECKING

from project_fanout.lazy import lazy_names

if TYPE_CHECKING:
    from project_fanout.forks.actions import Action
    from project_fanout.forks.fork_asset import build_fork_asset
    from project_fanout.forks.request_asset import build_request_asset

__all__ = ["Action", "build_fork_asset", "build_request_asset"]

__getattr__ = lazy_names(
    __name__,
    {
        "Action": "project_fanout.forks.actions",
        "build_fork_asset": "project_fanout.forks.fork_asset",
        "build_request_asset": "project_fanout.forks.request_asset",
    },
)
