"""Dagster's own tests, run with `fanout_executor` in the place of its executors: `make peers`."""
