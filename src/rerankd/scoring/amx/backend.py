"""AMX backend, on CPUs with Intel's matrix instructions.

Sequences are packed, so nothing is padded, and each call runs on one core: several calls at once share the weights
and never wait for each other. A score does not depend on what else is in the batch, bit for bit: every row has its own
scale, and attention sees one sequence.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rerankd._common.processor import usable_cores
from rerankd.errors import InvalidRequestError
from rerankd.models.files import ModelFiles
from rerankd.scoring.amx import library
from rerankd.scoring.amx.weights import PackedWeights, packed_arrays, pointer
from rerankd.scoring.encoder import EncodedPair
from rerankd.scoring.packed import packed_rows

PRECISIONS = ("bf16", "int8")
BATCH_TOKENS = 1024  # more rows read the weights less often, fewer stay in the second-level cache
KEPT_BYTES = 64_000_000  # working memory of a thread that is kept for the next call


class AmxBackend:
    """Backend of checkpoints of BERT and XLM-RoBERTa. Thread-safe.

    Args:
        files: a folder with safetensors weights.
        precision: `bf16` or `int8`; None for `bf16`.
        weights: weights that were packed before; None to pack those of the checkpoint.
        threads: calls that run at once; 0 for one per core this process may use.

    Raises:
        InvalidRequestError: another precision, an architecture that the kernels do not compute, or a machine that does
            not run them.
    """

    name = "amx"
    device = "cpu"
    max_batch_pairs: int | None = None
    max_batch_tokens: int | None = BATCH_TOKENS
    max_padding: float | None = None

    def __init__(
        self,
        files: ModelFiles,
        *,
        precision: str | None = None,
        threads: int = 0,
        weights: PackedWeights | None = None,
    ) -> None:
        self.precision = weights.precision if weights else precision or "bf16"
        architecture = files.manifest.architecture
        if problem := library.unavailable() or library.unsupported(architecture):
            raise InvalidRequestError(problem, hint="Use backend auto.")
        if self.precision not in PRECISIONS:
            raise InvalidRequestError(
                f"The AMX backend does not support {self.precision}.", hint=f"Use {' or '.join(PRECISIONS)}."
            )
        self.workers = threads or usable_cores()
        self._architecture = architecture
        self._library = library.library()
        if weights is None:
            arrays = dict(packed_arrays(architecture, files.checkpoint().tensor, self.precision))
            weights = PackedWeights(architecture, arrays, self.precision)
        self._weights = weights
        self._memory = threading.local()

    @property
    def single_thread(self) -> AmxBackend | None:
        """This backend: each of its calls runs on one core; None where only one may run."""
        return self if self.workers > 1 else None

    def logits(self, pairs: Sequence[EncodedPair]) -> npt.NDArray[np.float32]:
        """Return the logits of the pairs, computed together, shape (pairs,), float32."""
        logits = np.empty(len(pairs), dtype=np.float32)
        if not pairs:
            return logits
        rows = packed_rows(pairs, self._architecture)
        arrays = [values.astype(np.int32, copy=False) for values in (rows.ids, rows.positions, rows.segments)]
        weights, longest = self._weights, max(rows.lengths)
        size = self._library.rerankd_memory(pointer(weights.shape), len(rows.ids), longest)
        memory = self._working_memory(size + 64)
        self._library.rerankd_logits(
            pointer(weights.shape),
            pointer(weights.embeddings),
            pointer(weights.layers),
            pointer(weights.head),
            *(values.ctypes.data for values in arrays),
            rows.starts.ctypes.data,
            len(pairs),
            longest,
            -(-memory.ctypes.data // 64) * 64,
            logits.ctypes.data,
        )
        return logits

    def release(self) -> None:
        """Free the working memory of the calling thread."""
        self._memory.array = None

    def _working_memory(self, size: int) -> npt.NDArray[np.uint8]:
        """Return memory of at least `size` bytes; up to `KEPT_BYTES` are kept for the thread's next call."""
        kept: npt.NDArray[np.uint8] | None = getattr(self._memory, "array", None)
        if kept is not None and len(kept) >= size:
            return kept
        memory = np.empty(size, dtype=np.uint8)
        if size <= KEPT_BYTES:
            self._memory.array = memory
        return memory
