"""What is done more often, or in full, at night: with FANOUT_TESTS=nightly, which `make nightly` sets."""

import os

NIGHTLY = os.environ.get("FANOUT_TESTS") == "nightly"


def examples(for_a_commit: int, *, at_night: int) -> int:
    """Return how many examples Hypothesis tries."""
    return at_night if NIGHTLY else for_a_commit
