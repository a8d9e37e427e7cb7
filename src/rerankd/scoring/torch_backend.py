"""torch backend with packed batches: the sequences of a batch are concatenated, so there is no padding.

Linear layers run over all tokens at once, attention within each sequence: one variable-length kernel on CUDA,
scaled_dot_product_attention per sequence elsewhere. The last layer computes query, output and feed-forward only for
the first token of each sequence, because the head reads nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from rerankd._common.logging import logger
from rerankd._common.processor import HALF_PRECISION_FLAGS, cpu_flags
from rerankd.errors import InvalidRequestError
from rerankd.models.checkpoint import Checkpoint
from rerankd.models.files import ModelFiles
from rerankd.scoring.encoder import EncodedPair
from rerankd.scoring.packed import packed_rows

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """`PackedRows` on the device of the model."""

    ids: Tensor
    positions: Tensor
    segments: Tensor
    starts: Tensor
    lengths: list[int]


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
        self._weights = _Weights(files.checkpoint(), torch.device(device), _DTYPES[self.precision])
        self._layers = [self._load_layer(n) for n in range(self._architecture.layers)]
        prefix = f"{self._architecture.prefix}.embeddings"
        self._tables = [
            self._weights(f"{prefix}.{kind}_embeddings.weight") for kind in ("word", "position", "token_type")
        ]
        self._norm = self._weights.pair(f"{prefix}.LayerNorm")
        self._head = [tuple(t.float() for t in self._weights.pair(name)) for name in self._architecture.head]

    def logits(self, pairs: Sequence[EncodedPair]) -> npt.NDArray[np.float32]:
        """Return the logits of the pairs, computed together, shape (pairs,), float32."""
        if not pairs:
            return np.empty(0, dtype=np.float32)
        if self._process != os.getpid():
            self._continue_after_fork()
        with torch.inference_mode():
            batch = self._pack(pairs)
            hidden = self._embed(batch)
            for layer in self._layers[:-1]:
                hidden = self._run(layer, hidden, batch, last=False)
            first = self._run(self._layers[-1], hidden, batch, last=True).float()
            (dense, dense_bias), (out, out_bias) = self._head
            logits = functional.linear(torch.tanh(functional.linear(first, dense, dense_bias)), out, out_bias)
            values: npt.NDArray[np.float32] = logits.squeeze(-1).cpu().numpy()
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
        return PackedBatch(ids, positions, segments, move(rows.starts), rows.lengths)

    def _embed(self, batch: PackedBatch) -> Tensor:
        words, positions, segments = self._tables
        hidden = words[batch.ids] + positions[batch.positions] + segments[batch.segments]
        return self._normalise(hidden, self._norm)

    def _normalise(self, hidden: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
        return functional.layer_norm(hidden, (self._architecture.hidden,), *norm, self._architecture.layer_norm_eps)

    def _load_layer(self, n: int) -> _Layer:
        prefix = f"{self._architecture.prefix}.encoder.layer.{n}"
        parts = [self._weights.pair(f"{prefix}.attention.self.{part}") for part in ("query", "key", "value")]
        return _Layer(
            (torch.cat([w for w, _ in parts]), torch.cat([b for _, b in parts])),
            self._weights.pair(f"{prefix}.attention.output.dense"),
            self._weights.pair(f"{prefix}.attention.output.LayerNorm"),
            self._weights.pair(f"{prefix}.intermediate.dense"),
            self._weights.pair(f"{prefix}.output.dense"),
            self._weights.pair(f"{prefix}.output.LayerNorm"),
        )

    def _run(self, layer: _Layer, hidden: Tensor, batch: PackedBatch, *, last: bool) -> Tensor:
        size = self._architecture.hidden
        weight, bias = layer.projection
        kept = hidden
        if last:
            kept = hidden[batch.starts[:-1].long()]
            query = functional.linear(kept, weight[:size], bias[:size])
            key, value = functional.linear(hidden, weight[size:], bias[size:]).chunk(2, dim=-1)
        else:
            query, key, value = functional.linear(hidden, weight, bias).chunk(3, dim=-1)
        context = self._attend(query, key, value, batch, last=last)
        mixed = self._normalise(functional.linear(context, *layer.output) + kept, layer.output_norm)
        inner = functional.gelu(functional.linear(mixed, *layer.intermediate))
        return self._normalise(functional.linear(inner, *layer.feed_forward) + mixed, layer.feed_forward_norm)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, *, last: bool) -> Tensor:
        heads = self._architecture.heads
        q, k, v = (t.view(len(t), heads, -1) for t in (query, key, value))
        if self.device != "cpu" and self.precision != "fp32" and (kernel := _varlen_kernel()) is not None:
            starts = torch.arange(len(batch.lengths) + 1, dtype=torch.int32, device=q.device) if last else batch.starts
            longest = max(batch.lengths)
            return kernel(q, k, v, starts, batch.starts, 1 if last else longest, longest).reshape(len(q), -1)
        counts = [1] * len(batch.lengths) if last else batch.lengths
        sizes = (counts, batch.lengths, batch.lengths)
        parts = (torch.split_with_sizes(states, size) for states, size in zip((q, k, v), sizes, strict=True))
        outputs = [_attend_one(*states) for states in zip(*parts, strict=True)]
        return torch.cat(outputs)


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


def _attend_one(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute the attention of one sequence: (length, heads, width) in, (length, heads * width) out."""
    first, second, third = (states.transpose(0, 1)[None] for states in (query, key, value))
    context = functional.scaled_dot_product_attention(first, second, third)[0]
    return context.transpose(0, 1).reshape(len(query), -1)


@dataclass(frozen=True, slots=True)
class _Layer:
    projection: tuple[Tensor, Tensor]
    output: tuple[Tensor, Tensor]
    output_norm: tuple[Tensor, Tensor]
    intermediate: tuple[Tensor, Tensor]
    feed_forward: tuple[Tensor, Tensor]
    feed_forward_norm: tuple[Tensor, Tensor]


class _Weights:
    """Weights of a checkpoint, moved to a device and a type."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> None:
        self._checkpoint, self._device, self._dtype = checkpoint, device, dtype

    def __call__(self, name: str) -> Tensor:
        array = np.array(self._checkpoint.tensor(name))
        return torch.from_numpy(array).to(self._device, self._dtype)

    def pair(self, name: str) -> tuple[Tensor, Tensor]:
        return self(f"{name}.weight"), self(f"{name}.bias")


_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def _varlen_kernel() -> Callable[..., Tensor] | None:
    """Return torch's variable-length attention; None for a torch without it."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return cast("Callable[..., Tensor]", varlen_attn)
