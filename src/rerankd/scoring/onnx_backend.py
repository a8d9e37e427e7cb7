"""ONNX Runtime on the CPU.

int8 runs one unpadded sequence at a time: with one activation scale per tensor, a pair's score cannot depend on what
else is being scored, because nothing else is in the tensor. fp32 joins short sequences of nearly the same length: a
few hundred tokens fill the matrix units, more of them only spill the caches.
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
    max_batch_tokens: int | None = 384
    max_padding: float | None = 0.05

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
        self.max_batch_pairs: int | None = None if self.precision == "fp32" else 1
        self._segments = files.manifest.architecture.segments
        self._pad_id = files.manifest.architecture.pad_id
        path = files.folder / ONNX
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own exceptions share no public base class
            raise CorruptModelError(
                f"{path} cannot be loaded ({_first_line(error)}).", hint="Compile the model again."
            ) from error

    def logits(self, pairs: Sequence[EncodedPair]) -> npt.NDArray[np.float32]:
        """Logits of the pairs, computed in one run, shape (pairs,), float32."""
        shape = (len(pairs), max(map(len, pairs)))
        ids = np.full(shape, self._pad_id, dtype=np.int64)
        mask, segments = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, pair in enumerate(pairs):
            ids[row, : len(pair)] = pair.ids
            mask[row, : len(pair)] = 1
            segments[row, pair.document_start : len(pair)] = 1
        feed = {"input_ids": ids, "attention_mask": mask} | ({"token_type_ids": segments} if self._segments else {})
        found: npt.NDArray[np.float32] = self._session.run(["logits"], feed)[0][:, 0]
        return found

    def release(self) -> None:
        """Nothing is held: the runtime's arena is off."""


def usable_cores() -> int:
    """Cores that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
