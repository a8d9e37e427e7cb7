"""Description of the machine that a benchmark ran on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

from rerankd._common.processor import cpu_flags, processor_name

PACKAGES = ("rerankd", "onnxruntime", "torch", "transformers", "sentence-transformers")
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def machine(threads: int) -> dict[str, Any]:
    """Return the context of a result: processor, threads, load before the run, and versions."""
    known = cpu_flags()
    return {
        "processor": processor(),
        "flags": [flag for flag in FLAGS if flag in known],
        "threads": threads,
        "load_before": round(os.getloadavg()[0], 2),
        "packages": {name: version(name) for name in PACKAGES},
    }


def processor() -> str:
    """Return the name of the processor."""
    return processor_name() or platform.processor()
