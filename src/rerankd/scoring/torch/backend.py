"""torch backend with packed batches: the sequences of a batch are concatenated, so there is no padding.

Linear layers run over all tokens at once, attention within each sequence. Each family of models has a network of its
own (`networks`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rerankd._common.logging import logger
from rerankd._common.processor import HALF_PRECISION_FLAGS, cpu_flags
from rerankd.errors import InvalidRequestError
from rerankd.models.files import ModelFiles
from rerankd.scoring.encoder import EncodedPair
from rerankd.scoring.packed import packed_rows, shared_prefix
from rerankd.scoring.torch.batch import DeviceWeights, PackedBatch
from rerankd.scoring.torch.networks import open_network

_log = logger(__name__)


class TorchBackend:
    """Backend of checkpoints, on CPU or CUDA.

    Args:
        files: a folder with safetensors weights.
        device: `cpu`, `cuda` or `cuda:N`.
        precision: `fp32`, `fp16` or `bf16`; None for fp32 on the CPU and fp16 on CUDA.
        threads: CPU threads; 0 for torch's default.

    Raises:
        InvalidRequestError: int8, or half precision on a CPU that has no instructions for it.
    """

    name = "torch"
    reason = ""
    max_batch_pairs: int | None = None
    max_batch_tokens: int | None = None
    max_padding: float | None = None
    workers = 1
    single_thread = None

    def __init__(
        self, files: ModelFiles, *, device: str = "cpu", precision: str | None = None, threads: int = 0
    ) -> None:
        self.precision = precision or ("fp16" if device.startswith("cuda") else "fp32")
        if self.precision == "int8":
            raise InvalidRequestError(
                "The torch backend does not support int8.",
                hint=f"Run: rerankd models compile {files.reference} --precision int8 --out DIR.",
            )
        if device == "cpu":
            check_half_precision(self.precision)
        if threads and device == "cpu":
            torch.set_num_threads(threads)
        self._process = os.getpid()
        self.device = device
        self._architecture = files.manifest.architecture
        self._network = open_network(self._architecture, DeviceWeights(files.checkpoint(), device, self.precision))

    def logits(self, pairs: Sequence[EncodedPair]) -> npt.NDArray[np.float32]:
        """Return the logits of the pairs, computed together, shape (pairs,), float32."""
        if not pairs:
            return np.empty(0, dtype=np.float32)
        if self._process != os.getpid():
            self._continue_after_fork()
        with torch.inference_mode():
            values: npt.NDArray[np.float32] = self._network.logits(self._pack(pairs)).cpu().numpy()
            return values

    def _continue_after_fork(self) -> None:
        """Compute with one thread: the threads of the parent did not follow, and waiting for them would never end.

        Raises:
            InvalidRequestError: the model is on a GPU, whose context a forked process cannot use.
        """
        if self.device != "cpu":
            raise InvalidRequestError(
                "This process was forked from one that had loaded the model on a GPU, which it cannot use.",
                hint='Load the model in this process, and start it with multiprocessing\'s "spawn".',
            )
        torch.set_num_threads(1)
        _log.warning("Computing with one thread: this process was forked after the model was loaded")
        self._process = os.getpid()

    def release(self) -> None:
        """Empty the allocator's cache on a GPU."""
        if self.device != "cpu":
            torch.cuda.empty_cache()

    def _pack(self, pairs: Sequence[EncodedPair]) -> PackedBatch:
        rows = packed_rows(pairs, self._architecture)

        def move(values: npt.NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(values).to(self.device, non_blocking=True)

        ids, positions, segments = (move(values) for values in (rows.ids, rows.positions, rows.segments))
        return PackedBatch(ids, positions, segments, move(rows.starts), rows.lengths, shared_prefix(pairs))


def check_half_precision(precision: str) -> None:
    """Check that the CPU has instructions for a precision; without them it is several times slower than fp32.

    Raises:
        InvalidRequestError: the CPU has none. A system that does not list its instructions is trusted.
    """
    needed, flags = HALF_PRECISION_FLAGS.get(precision), cpu_flags()
    if needed is None or not flags or needed & flags:
        return
    raise InvalidRequestError(
        f"This CPU has no instructions for {precision} ({', '.join(sorted(needed))}), so it is slower than fp32.",
        hint="Use fp32, or compile to int8.",
    )
