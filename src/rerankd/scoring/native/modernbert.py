"""Weights of ModernBERT in the layout of the kernels.

The kernels know no layer without biases and none that is normalized before it: biases are zeros, and each normalization
before attention belongs to the layer before.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rerankd.models.families.modernbert import ModernBertArchitecture
from rerankd.scoring.native.layout import Array, Weights, bfloat16, linear_arrays, query_factor

LANES = 16  # float32 numbers of a register


def modernbert_arrays(
    architecture: ModernBertArchitecture, weight: Weights, precision: str
) -> Iterator[tuple[str, Array]]:
    """Yield the arrays of a cross-encoder; arguments as for `weights.packed_arrays`."""
    yield "words", bfloat16(weight("model.embeddings.tok_embeddings.weight"))
    yield "norm", _norm(weight, "model.embeddings.norm")
    for kind, base in (("g", architecture.global_base), ("l", architecture.local_base)):
        yield f"rotary.{kind}", rotary_table(architecture, base)
    query_scale, last = np.float32(query_factor(architecture)), architecture.layers - 1
    for n in range(architecture.layers):
        prefix = f"model.layers.{n}"
        query, key, value = (weight(f"{prefix}.attn.{part}.weight") for part in ("query", "key", "value"))
        matrices = {
            "projection": np.concatenate([query * query_scale, key, value]),
            "output": weight(f"{prefix}.attn.Wo.weight"),
            "up": gated_rows(weight(f"{prefix}.mlp.Wi.weight")),
            "down": weight(f"{prefix}.mlp.Wo.weight"),
        }
        for name, matrix in matrices.items():
            yield from linear_arrays(f"{n}.{name}", matrix, np.zeros(len(matrix), np.float32), precision)
        yield f"{n}.attention_norm", _norm(weight, f"{prefix}.mlp_norm")
        yield f"{n}.norm", _norm(weight, "model.final_norm" if n == last else f"model.layers.{n + 1}.attn_norm")
    yield "dense", weight("head.dense.weight")
    zeros = np.zeros(architecture.hidden, np.float32)
    yield "dense_bias", weight("head.dense.bias") if architecture.head_bias else zeros
    bias = weight("head.norm.bias") if architecture.head_norm_bias else zeros
    yield "head_norm", np.concatenate([weight("head.norm.weight"), bias])
    yield "out", weight("classifier.weight")
    yield "out_bias", weight("classifier.bias")


def gated_rows(matrix: Array) -> Array:
    """Arrange the rows of a gated layer so that a block of the kernels holds numbers and what multiplies them.

    Args:
        matrix: shape (2 * inner, inputs): the rows of the numbers, then those of the gates.

    Returns:
        The same rows: 16 of the numbers, 16 of the gates, and so on.
    """
    inner = len(matrix) // 2
    return np.ascontiguousarray(matrix.reshape(2, inner // LANES, LANES, -1).swapaxes(0, 1)).reshape(matrix.shape)


def rotary_table(architecture: ModernBertArchitecture, base: float) -> Array:
    """Return cosines, then sines of each position, shape (positions, width of a head), float32."""
    width = architecture.hidden // architecture.heads
    frequencies = 1.0 / np.float32(base) ** (np.arange(0, width, 2, dtype=np.float32) / width)
    angles = np.arange(architecture.positions, dtype=np.float32)[:, None] * frequencies.astype(np.float32)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def _norm(weight: Weights, name: str) -> Array:
    values = weight(f"{name}.weight")
    return np.concatenate([values, np.zeros_like(values)])
