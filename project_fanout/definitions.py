"""What Dagster loads: the definitions of each workload whose extra is installed, wired together."""

import dagster as dg

from project_fanout.extras import load
from project_fanout.forks import extra_kwargs
from project_fanout.orchestration import fanout_executor

_WORKLOADS = [
    load("project_fanout.images.definitions", "images"),
    load("project_fanout.forks.definitions", "images"),  # its tasks convert pictures
    load("project_fanout.campaigns.definitions", "campaigns"),
]

defs = dg.Definitions.merge(
    dg.Definitions(assets=dg.load_assets_from_modules([extra_kwargs]), executor=fanout_executor),
    *(workload.defs for workload in _WORKLOADS if workload),
)
