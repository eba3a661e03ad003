"""The Dagster layer over the engine."""
