"""Native backend, on CPUs with AMX or AVX-512 VNNI.

Sequences are packed, so nothing is padded, and each call runs on one core: several calls at once share the weights
and never wait for each other. Only a pair that is alone is divided among the cores. A score does not depend on what
else is in the batch, bit for bit: every row has its own scale, and attention sees one sequence.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rerankd._common.processor import usable_cores
from rerankd.errors import CorruptModelError, InvalidRequestError
from rerankd.models.families.bert import BertArchitecture, as_bert
from rerankd.models.families.modernbert import ModernBertArchitecture
from rerankd.models.files import ONNX, ModelFiles
from rerankd.models.onnx_constants import onnx_constants
from rerankd.models.template import as_pair_template
from rerankd.scoring.encoder import EncodedPair
from rerankd.scoring.native import library
from rerankd.scoring.native.compiled import compiled_arrays
from rerankd.scoring.native.weights import PackedWeights, packed_arrays, pointer
from rerankd.scoring.packed import PackedRows, packed_rows

PRECISIONS = ("bf16", "int8")
BATCH_TOKENS = 1024  # more rows read the weights less often, fewer stay in the second-level cache
MIN_PRODUCTS = 10**9  # of numbers, for a thread to compute a part of a pair: some milliseconds
KEPT_BYTES = 64_000_000  # working memory of a thread that is kept for the next call


class NativeBackend:
    """Backend of checkpoints of BERT, XLM-RoBERTa and ModernBERT, and of compiled int8 models. Thread-safe.

    Args:
        files: a folder with safetensors weights, or with an int8 `model.onnx`.
        precision: `bf16` or `int8`; None for `bf16`, or as compiled.
        threads: calls that run at once; 0 for one per core this process may use.
        weights: weights that were packed before; None to pack those of the folder.

    Raises:
        InvalidRequestError: another precision, an architecture that the kernels do not compute, or a machine that does
            not run them.
    """

    name = "native"
    reason = ""
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
        architecture = files.manifest.architecture
        if problem := library.unavailable() or library.unsupported(architecture, compiled=files.compiled):
            raise InvalidRequestError(problem, hint="Use backend auto.")
        self.precision = weights.precision if weights else precision or (files.compiled and "int8") or "bf16"
        if self.precision not in PRECISIONS:
            raise InvalidRequestError(
                f"The native backend does not support {self.precision}.", hint=f"Use {' or '.join(PRECISIONS)}."
            )
        self.workers = threads or usable_cores()
        self._architecture = architecture
        self._template = as_pair_template(files.manifest.template)
        self._library = library.library()
        if weights is not None:
            self._weights = weights
        elif files.compiled:
            self._weights = self._compiled_weights(files)
        else:
            arrays = dict(packed_arrays(architecture, files.checkpoint().tensor, self.precision))
            self._weights = PackedWeights(architecture, arrays, self.precision)
        self._late_interaction = "mix" in self._weights.arrays
        self._memory = threading.local()
        chosen = library.instructions()
        self._threads_of_pair = self.workers if chosen is not None and chosen.shared_calls else 1

    def _compiled_weights(self, files: ModelFiles) -> PackedWeights:
        constants = onnx_constants(files.folder / ONNX)
        try:
            arrays = dict(compiled_arrays(constants, as_bert(self._architecture, "The native backend")))
            prefix, end = len(self._template.start) - 1, self._template.end[-1]
            return PackedWeights(self._architecture, arrays, self.precision, prefix, end)
        except (KeyError, ValueError) as error:
            raise InvalidRequestError(
                f"{files.manifest.name} is no int8 model that this version compiled ({error}).",
                hint="Compile it again, or use backend onnx.",
            ) from error

    @property
    def single_thread(self) -> NativeBackend | None:
        """This backend, each of whose calls runs on one core; None where only one may run."""
        if self._threads_of_pair == 1:
            return self if self.workers > 1 else None
        single = copy.copy(self)
        single._threads_of_pair = 1
        return single

    def logits(self, pairs: Sequence[EncodedPair]) -> npt.NDArray[np.float32]:
        """Return the logits of the pairs, computed together, shape (pairs,), float32."""
        logits = np.empty(len(pairs), dtype=np.float32)
        if not pairs:
            return logits
        rows = packed_rows(pairs, self._architecture)
        weights, longest = self._weights, max(rows.lengths)
        threads = self._threads_for(len(rows.ids)) if len(pairs) == 1 else 1
        size = self._library.rerankd_memory(pointer(weights.shape), len(rows.ids), longest, threads)
        memory = self._working_memory(size + 64)
        if self._late_interaction:
            compute, head = self._library.rerankd_compare, pointer(weights.comparison)
            arrays: list[npt.NDArray[Any]] = self._sides(pairs, rows)
        else:
            compute, head = self._library.rerankd_logits, pointer(weights.head)
            arrays = [rows.ids, rows.positions, rows.segments, rows.starts]
        self._check(*arrays[:3])
        narrow = [np.ascontiguousarray(values, np.int32) for values in arrays]
        compute(
            pointer(weights.shape),
            pointer(weights.embeddings),
            pointer(weights.layers),
            head,
            *(values.ctypes.data for values in narrow),
            len(pairs),
            longest,
            threads,
            -(-memory.ctypes.data // 64) * 64,
            logits.ctypes.data,
        )
        return logits

    def _threads_for(self, rows: int) -> int:
        """Return the number of threads that compute a lone pair."""
        shape = self._weights.shape
        matrices = shape.hidden * (4 * shape.hidden + (3 if shape.gated else 2) * shape.inner)
        return max(1, min(self._threads_of_pair, int(rows * shape.layers * matrices // MIN_PRODUCTS)))

    def _check(self, ids: npt.NDArray[Any], positions: npt.NDArray[Any], segments: npt.NDArray[Any]) -> None:
        """Check that all rows exist, since the kernels do not.

        Raises:
            CorruptModelError: one does not.
        """
        shape = self._architecture
        limits = {"token": (ids, shape.vocabulary)}
        if isinstance(shape, ModernBertArchitecture):
            limits["position"] = positions, shape.positions
        elif isinstance(shape, BertArchitecture):
            limits |= {"position": (positions, shape.positions), "segment": (segments, shape.segment_types)}
        for name, (values, rows) in limits.items():
            if values.min() < 0 or values.max() >= rows:
                raise CorruptModelError(
                    f"The tokenizer gives {name} {int(values.max())}, but the model has {rows} of them.",
                    hint="Use tokenizer.json and config.json from the repository of the weights.",
                )

    def _sides(self, pairs: Sequence[EncodedPair], rows: PackedRows) -> list[npt.NDArray[Any]]:
        """Return what is needed to encode both texts of each pair separately; each side has its own positions."""
        texts = np.array([pair.document_start for pair in pairs], np.int32)
        splits = texts - (len(self._template.middle) - 1)  # the document's side begins with a [CLS] of its own
        starts = rows.starts[:-1]
        parts = np.append(np.stack([starts, starts + splits], axis=1).reshape(-1), rows.starts[-1])
        lengths = np.diff(parts)
        positions = np.arange(rows.starts[-1]) - np.repeat(parts[:-1], lengths)
        return [rows.ids, positions, np.zeros_like(rows.ids), rows.starts, parts, splits, texts]

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
