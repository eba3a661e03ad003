"""Fan out records over one process pool and collect them into one Dagster asset."""

__version__ = "0.1.0"
