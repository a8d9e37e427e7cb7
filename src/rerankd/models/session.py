"""ONNX Runtime sessions on the CPU, with the same options for every model."""

from __future__ import annotations

from typing import Any

from rerankd._common.error_text import first_line
from rerankd._common.processor import usable_cores
from rerankd.errors import CorruptModelError

# The operators that these produce are slower than the operators that they replace.
SLOWER_FUSIONS = ["SkipLayerNormFusion", "BiasGeluFusion"]


def open_session(model: str | bytes, threads: int = 0) -> Any:
    """Open an `onnxruntime.InferenceSession`.

    Args:
        model: path of a model file, or its bytes.
        threads: CPU threads; 0 for one per core that this process may use.

    Raises:
        CorruptModelError: the model cannot be loaded.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.inter_op_num_threads = 1
    # Lengths vary between runs: one memory pattern for each, and an arena that never shrinks, would fill the memory.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOWER_FUSIONS
        )
    except Exception as error:  # the runtime's own exceptions share no public base class
        where = model if isinstance(model, str) else "The model"
        raise CorruptModelError(
            f"{where} cannot be loaded ({first_line(error)}).", hint="Compile the model again."
        ) from error
