"""A pool on a Ray cluster."""

from project_fanout.engine.pools.ray.pool import RayPool

__all__ = ["RayPool"]
