"""ONNX Runtime on the CPU: one unpadded sequence per run.

No padding is ever multiplied, and with dynamic int8 (one activation scale per tensor) a pair's score cannot depend on
what else is being scored, because nothing else is in the tensor.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rerankd.errors import CorruptModelError
from rerankd.models.files import ONNX, ModelFiles
from rerankd.scoring.encoder import EncodedPair


class OnnxBackend:
    """Runs a compiled model; safe to call from several threads at once.

    Args:
        files: a folder with `model.onnx`.
        threads: CPU threads; 0 for one per core this process may use.
    """

    name = "onnx"
    device = "cpu"
    max_batch_pairs: int | None = 1
    max_padding: float | None = 0.0

    def __init__(self, files: ModelFiles, *, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.inter_op_num_threads = 1
        # Lengths differ from run to run: a memory pattern for each, and an arena that only grows, would pile up.
        options.enable_mem_pattern = False
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        self.precision = files.manifest.precision
        self._segments = files.manifest.architecture.segments
        path = files.folder / ONNX
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own exceptions share no public base class
            raise CorruptModelError(
                f"{path} cannot be loaded ({_first_line(error)}).", hint="Compile the model again."
            ) from error

    def logits(self, pairs: Sequence[EncodedPair]) -> npt.NDArray[np.float32]:
        """Logits of the pairs, each computed in a run of its own, shape (pairs,), float32."""
        return np.array([self._one(pair) for pair in pairs], dtype=np.float32)

    def _one(self, pair: EncodedPair) -> float:
        ids = pair.ids[None, :]
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        if self._segments:
            segments = np.zeros_like(ids)
            segments[:, pair.document_start :] = 1
            feed["token_type_ids"] = segments
        return float(self._session.run(["logits"], feed)[0][0, 0])


def usable_cores() -> int:
    """Cores that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
