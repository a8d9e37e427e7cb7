"""Description of the machine that a benchmark ran on."""

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
    """Return the context of a result: processor, threads, load before the run, and versions."""
    known = flags()
    return {
        "processor": processor(),
        "flags": [flag for flag in FLAGS if flag in known],
        "threads": threads,
        "load_before": round(os.getloadavg()[0], 2),
        "packages": {name: version(name) for name in PACKAGES},
    }


def processor() -> str:
    """Return the name of the processor."""
    return _of_cpuinfo("model name") or platform.processor()


def flags() -> list[str]:
    """Return the instruction-set flags of the processor; empty where the system does not list them."""
    return _of_cpuinfo("flags").split()


def _of_cpuinfo(name: str) -> str:
    lines = _CPUS.read_text(encoding="utf-8").splitlines() if _CPUS.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
