"""Waiting for what other threads and processes do; imports nothing, so that units may use it, too."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, limit_s: float = 30) -> T:
    """Return the first true value of *condition*, asked 200 times a second.

    Raises:
        TimeoutError: there was none within *limit_s*; says *what* did not come true, and the last value.
    """
    give_up_at = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"waited {limit_s:g} s in vain until {what}; last seen: {value!r}")
        time.sleep(0.005)  # files, processes and ports do not call back
    return value
