"""Use of what is beta or a preview in Dagster."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg


@contextmanager
def beta_parts_of_dagster() -> Iterator[None]:
    """Keep arguments that are beta or a preview, such as `resource_defs`, from warning in users' logs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        yield
