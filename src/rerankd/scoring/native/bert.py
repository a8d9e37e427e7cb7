"""Weights of BERT and XLM-RoBERTa in the layout of the kernels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rerankd.models.families.bert import BertArchitecture
from rerankd.scoring.native.layout import Array, Weights, bfloat16, linear_arrays, query_factor


def bert_arrays(architecture: BertArchitecture, weight: Weights, precision: str) -> Iterator[tuple[str, Array]]:
    """Yield the arrays of a cross-encoder; arguments as for `weights.packed_arrays`."""
    yield from bert_layers(architecture, weight, precision)
    for name, layer in zip(("dense", "out"), architecture.head, strict=True):
        yield name, weight(f"{layer}.weight")
        yield f"{name}_bias", weight(f"{layer}.bias")


def bert_layers(architecture: BertArchitecture, weight: Weights, precision: str) -> Iterator[tuple[str, Array]]:
    """Yield the arrays of embeddings and layers, without those of the head; arguments as for `packed_arrays`."""
    embeddings = f"{architecture.prefix}.embeddings"
    yield "words", bfloat16(weight(f"{embeddings}.word_embeddings.weight"))
    yield "positions", weight(f"{embeddings}.position_embeddings.weight")
    yield "segments", weight(f"{embeddings}.token_type_embeddings.weight")
    yield "norm", norm_array(weight, f"{embeddings}.LayerNorm")
    query_scale = query_factor(architecture)
    for n in range(architecture.layers):
        prefix = f"{architecture.prefix}.encoder.layer.{n}"
        attention = f"{prefix}.attention"
        linear = {
            "projection": [(f"{attention}.self.query", query_scale)]
            + [(f"{attention}.self.{part}", 1.0) for part in ("key", "value")],
            "output": [(f"{attention}.output.dense", 1.0)],
            "up": [(f"{prefix}.intermediate.dense", 1.0)],
            "down": [(f"{prefix}.output.dense", 1.0)],
        }
        for name, parts in linear.items():
            factors = {layer: np.float32(factor) for layer, factor in parts}
            matrix, bias = (
                np.concatenate([weight(f"{layer}.{part}") * factor for layer, factor in factors.items()])
                for part in ("weight", "bias")
            )
            yield from linear_arrays(f"{n}.{name}", matrix, bias, precision)
        yield f"{n}.attention_norm", norm_array(weight, f"{attention}.output.LayerNorm")
        yield f"{n}.norm", norm_array(weight, f"{prefix}.output.LayerNorm")


def norm_array(weight: Weights, name: str) -> Array:
    """Return weight and bias of a normalization, one after the other."""
    return np.concatenate([weight(f"{name}.weight"), weight(f"{name}.bias")])
