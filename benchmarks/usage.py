"""Resource use of processes: processor time and memory."""

from __future__ import annotations

import psutil

FLAT, FLAT_MEGABYTES = 1.1, 16.0


def processor_seconds(pid: int) -> float:
    """Return the processor seconds of a process so far."""
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def resident_megabytes(pid: int) -> float:
    """Return the resident memory of a process; 0 after it has ended, until its parent reaps it."""
    return float(psutil.Process(pid).memory_info().rss / 1e6)


def grew_not(before: float, after: float) -> bool:
    """Return True if memory did not grow by more than its usual variation."""
    return after <= max(FLAT * before, before + FLAT_MEGABYTES)
