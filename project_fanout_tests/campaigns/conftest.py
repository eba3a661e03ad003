"""What the campaigns' tests share."""

from collections.abc import Iterator

import pytest

from project_fanout.campaigns.sink import close_shared_sinks


@pytest.fixture(autouse=True)
def no_sink_is_left() -> Iterator[None]:
    """End the sinks that a test has started in this process."""
    yield
    close_shared_sinks()
