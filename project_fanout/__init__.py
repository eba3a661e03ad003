"""Fan out records over one process pool and collect them into one Dagster asset."""

import sys

try:
    import fcntl  # noqa: F401  # Windows has none
except ImportError:
    raise ImportError(
        f"project_fanout runs on Linux and macOS, not on {sys.platform}: its worker processes need what Unix alone "
        "has, such as fcntl. On Windows, run it and Dagster in WSL 2 (`wsl --install`) or in a Linux container.",
        name="fcntl",
    ) from None

__version__ = "0.1.0"
