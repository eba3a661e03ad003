"""The Dagster layer over the engine: fan-out assets, their resources and their executor."""

from project_fanout.engine.policy import FanoutPolicy
from project_fanout.orchestration.asset import build_fanout_asset
from project_fanout.orchestration.executor import fanout_executor
from project_fanout.orchestration.resources import LedgerResource, UnitPoolResource

__all__ = ["FanoutPolicy", "LedgerResource", "UnitPoolResource", "build_fanout_asset", "fanout_executor"]
