"""ONNX Runtime backend, on the CPU.

One sequence does not keep several cores busy: an operator finishes before all threads have started on it. Sequences
are therefore computed in parallel, one core each, as long as there are enough of them, by a second session with one
thread. Large models use one session only: two copies of the weights need too much memory, and their operators are long
enough to use several threads.

int8 runs one unpadded sequence at a time: with one activation scale per tensor, a pair's score cannot depend on what
else is being scored, because nothing else is in the tensor. fp32 batches short sequences of nearly the same length: a
few hundred tokens fill the matrix units, more of them only overflow the caches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rerankd._common.processor import usable_cores
from rerankd.models.files import ONNX, ModelFiles
from rerankd.models.session import open_session
from rerankd.scoring.encoder import EncodedPair

MAX_DUPLICATED_BYTES = 300_000_000  # weights up to this size are loaded twice, see above


class OnnxBackend:
    """Backend of compiled models. Thread-safe.

    Args:
        files: a folder with `model.onnx`.
        threads: CPU threads; 0 for one per core this process may use.
    """

    name = "onnx"
    reason = ""
    device = "cpu"
    max_batch_tokens: int | None = 384
    max_padding: float | None = 0.05
    workers = 1
    single_thread: OnnxBackend | None = None

    def __init__(self, files: ModelFiles, *, threads: int = 0) -> None:
        self.precision = files.manifest.precision
        self.max_batch_pairs: int | None = None if self.precision == "fp32" else 1
        self._segments = files.manifest.architecture.segments
        self._pad_id = files.manifest.architecture.pad_id
        cores = threads or usable_cores()
        self._session = open_session(str(files.folder / ONNX), cores)
        if cores > 1 and files.size <= MAX_DUPLICATED_BYTES:
            self.workers, self.single_thread = cores, OnnxBackend(files, threads=1)

    def logits(self, pairs: Sequence[EncodedPair]) -> npt.NDArray[np.float32]:
        """Return the logits of the pairs, computed in one run, shape (pairs,), float32."""
        shape = (len(pairs), max(map(len, pairs)))
        ids = np.full(shape, self._pad_id, dtype=np.int64)
        mask, segments = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, pair in enumerate(pairs):
            ids[row, : len(pair)] = pair.ids
            mask[row, : len(pair)] = 1
            segments[row, pair.document_start : len(pair)] = 1
        feed = {"input_ids": ids, "attention_mask": mask} | ({"token_type_ids": segments} if self._segments else {})
        logits: npt.NDArray[np.float32] = self._session.run(["logits"], feed)[0][:, 0]
        return logits

    def release(self) -> None:
        """Do nothing: the runtime caches no memory, since its arena is off."""
