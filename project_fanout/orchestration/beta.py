"""Use of what is beta in Dagster."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg


@contextmanager
def beta_parts_of_dagster() -> Iterator[None]:
    """Keep arguments that are beta in Dagster, such as `resource_defs`, from warning in users' logs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        yield
