"""ONNX Runtime on the CPU, set up the same way for every model."""

from __future__ import annotations

import os
from typing import Any

from rerankd.errors import CorruptModelError

# What these put together takes the runtime longer than its parts do.
SLOWER_FUSIONS = ["SkipLayerNormFusion", "BiasGeluFusion"]


def open_session(model: str | bytes, threads: int = 0) -> Any:
    """An `onnxruntime.InferenceSession`.

    Args:
        model: path of a file, or its bytes.
        threads: CPU threads; 0 for one per core this process may use.

    Raises:
        CorruptModelError: it cannot be loaded.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.inter_op_num_threads = 1
    # Lengths differ from run to run: a memory pattern for each, and an arena that only grows, would pile up.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOWER_FUSIONS
        )
    except Exception as error:  # the runtime's own exceptions share no public base class
        where = model if isinstance(model, str) else "The model"
        first = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise CorruptModelError(f"{where} cannot be loaded ({first}).", hint="Compile the model again.") from error


def usable_cores() -> int:
    """Cores that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
