"""A pool of worker processes on this machine."""

from project_fanout.engine.pools.process.pool import ProcessPool

__all__ = ["ProcessPool"]
