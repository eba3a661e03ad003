"""What an attempt took: time, CPU time, memory."""

import os
import re
import time
from dataclasses import replace

from project_fanout.engine.pools.attempt.attempt import Attempt, Next
from project_fanout.engine.pools.calls import UnitReply

_PEAK = re.compile(rb"VmHWM:\s*(\d+) kB")


async def note_figures(attempt: Attempt, call_next: Next, worker: str) -> list[UnitReply]:
    """Ring: write into the replies which *worker* it was and what it took, to each unit of a batch its share."""
    replies = await call_next(attempt)
    share = 1 / len(attempt.calls)
    cpu = None if attempt.cpu_seconds is None else attempt.cpu_seconds * share
    return [
        replace(
            reply, seconds=attempt.seconds * share, cpu_seconds=cpu, peak_mb=attempt.peak_mb, worker=worker
        )
        for reply in replies
    ]


async def measure(attempt: Attempt, call_next: Next) -> list[UnitReply]:
    """Ring: take its time; CPU time and memory too where the attempt has its process for itself."""
    alone = attempt.is_alone
    peak_is_told = alone and _forget_peak()
    cpu = _cpu_seconds() if alone else 0.0
    started = time.perf_counter()
    try:
        return await call_next(attempt)
    finally:
        attempt.seconds = time.perf_counter() - started
        if alone:
            attempt.cpu_seconds = max(0.0, _cpu_seconds() - cpu)
            attempt.peak_mb = _peak_mb() if peak_is_told else None


def _cpu_seconds() -> float:
    times = os.times()  # of ended children, to 10 ms
    return time.process_time() + times.children_user + times.children_system


def _forget_peak() -> bool:
    """Let the peak begin anew; return False where it cannot be told: not on Linux, or /proc is closed."""
    try:
        file = os.open("/proc/self/clear_refs", os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(file, b"5")
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def _peak_mb() -> float | None:
    """Return the most memory of this process since `_forget_peak`, in MiB."""
    try:
        file = os.open("/proc/self/status", os.O_RDONLY)
    except OSError:
        return None
    try:
        found = _PEAK.search(os.read(file, 4096))
    finally:
        os.close(file)
    return int(found[1]) / 1024 if found else None
