"""What processes use: cores and memory."""

from __future__ import annotations

import psutil

FLAT, FLAT_MEGABYTES = 1.1, 16.0


def processor_seconds(pid: int) -> float:
    """What a process has used of cores so far."""
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def resident_megabytes(pid: int) -> float:
    """What a process has in memory; 0 once it has ended, until its parent takes note."""
    return float(psutil.Process(pid).memory_info().rss / 1e6)


def grew_not(before: float, after: float) -> bool:
    """Whether megabytes are the same, but for what comes and goes."""
    return after <= max(FLAT * before, before + FLAT_MEGABYTES)
