"""What a benchmark ran on."""

from __future__ import annotations

import platform
from pathlib import Path

_CPUS = Path("/proc/cpuinfo")


def processor() -> str:
    """The processor's name, as the system tells it."""
    return _of_cpuinfo("model name") or platform.processor()


def flags() -> list[str]:
    """What the processor can do, by the system's names; empty where it does not say."""
    return _of_cpuinfo("flags").split()


def _of_cpuinfo(name: str) -> str:
    lines = _CPUS.read_text(encoding="utf-8").splitlines() if _CPUS.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
