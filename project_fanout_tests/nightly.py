"""What is done more often, or in full, at night: with FANOUT_TESTS=nightly, which `make nightly` sets."""

import os

NIGHTLY = os.environ.get("FANOUT_TESTS") == "nightly"


def examples(for_a_commit: int, *, at_night: int) -> int:
    """Return how many examples Hypothesis tries, or how large a test is that is as telling when it is smaller."""
    return at_night if NIGHTLY else for_a_commit


#: Not for every commit: they start, kill and stop whole Ray clusters for four minutes. `make outages` runs them.
OUTAGES = "engine/pools/ray/test_lost_cluster.py"


def is_for_a_commit(test: str) -> bool:
    """Tell whether the test with this id is run for every commit."""
    return NIGHTLY or os.environ.get("FANOUT_TESTS") == "outages" or OUTAGES not in test
