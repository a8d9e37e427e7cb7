"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("rerankd", "onnxruntime", "torch", "transformers", "sentence-transformers")
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
_CPUS = Path("/proc/cpuinfo")


def machine(threads: int) -> dict[str, Any]:
    """What stands beside a result: processor, threads, load before, and versions."""
    known = flags()
    return {
        "processor": processor(),
        "flags": [flag for flag in FLAGS if flag in known],
        "threads": threads,
        "load_before": round(os.getloadavg()[0], 2),
        "packages": {name: version(name) for name in PACKAGES},
    }


def processor() -> str:
    """The processor's name, as the system tells it."""
    return _of_cpuinfo("model name") or platform.processor()


def flags() -> list[str]:
    """What the processor can do, by the system's names; empty where it does not say."""
    return _of_cpuinfo("flags").split()


def _of_cpuinfo(name: str) -> str:
    lines = _CPUS.read_text(encoding="utf-8").splitlines() if _CPUS.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
