"""What the campaigns' tests share."""

from collections.abc import Iterator

import pytest

from project_fanout.campaigns.idle_senders import close_idle_senders
from project_fanout.campaigns.sink import close_shared_sinks


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    """Close the senders and end the sinks that a test has left in this process."""
    yield
    close_idle_senders()
    close_shared_sinks()
