"""Weights that the kernels read, in bfloat16 or int8, made from those of a checkpoint."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from typing import Any

from rerankd.models.architecture import Architecture
from rerankd.models.families.bert import as_bert
from rerankd.models.families.modernbert import ModernBertArchitecture
from rerankd.scoring.native.bert import bert_arrays
from rerankd.scoring.native.layout import Array, Weights, aligned
from rerankd.scoring.native.library import Comparison, Embeddings, Head, Layer, Linear, Shape
from rerankd.scoring.native.modernbert import modernbert_arrays

BLOCK = 128  # rows whose feed-forward part is computed at a time: the inner states stay in the second-level cache
ACTIVATIONS = ("tanh", "gelu", "relu")  # of a head, in the order of encoder.c


def packed_arrays(architecture: Architecture, weight: Weights, precision: str) -> Iterator[tuple[str, Array]]:
    """Yield the arrays that the kernels read, by name.

    Attention, normalization and the head are not quantized.

    Args:
        architecture: shape of the network.
        weight: function that returns a weight as float32 by its name.
        precision: `bf16` or `int8`.

    Raises:
        UnsupportedModelError: the kernels do not compute the family.
    """
    if isinstance(architecture, ModernBertArchitecture):
        return modernbert_arrays(architecture, weight, precision)
    return bert_arrays(as_bert(architecture, "The native backend"), weight, precision)


def array_count(architecture: Architecture, precision: str) -> int:
    """Return the number of arrays that `packed_arrays` yields."""
    return len(_sizes(architecture, precision)) + (5 if isinstance(architecture, ModernBertArchitecture) else 4)


def _attention(architecture: Architecture) -> str:
    """Return the kind of each layer's attention: `g` global, `l` local."""
    return architecture.attention if isinstance(architecture, ModernBertArchitecture) else "g" * architecture.layers


def _sizes(architecture: Architecture, precision: str) -> dict[str, int]:
    """Return the bytes of each array of the embeddings and layers by name."""
    hidden, inner = architecture.hidden, architecture.intermediate
    sizes = {"words": 2 * architecture.vocabulary * hidden, "norm": 8 * hidden}
    if isinstance(architecture, ModernBertArchitecture):
        table = 4 * architecture.positions * hidden // architecture.heads
        sizes |= {"rotary.g": table, "rotary.l": table}
        up = 2 * inner
    else:
        bert = as_bert(architecture, "The native backend")
        sizes |= {"positions": 4 * bert.positions * hidden, "segments": 4 * bert.segment_types * hidden}
        up = inner
    layers = {
        "projection": (3 * hidden, hidden),
        "output": (hidden, hidden),
        "up": (up, hidden),
        "down": (hidden, inner),
    }
    for n in range(architecture.layers):
        for name, (outputs, inputs) in layers.items():
            sizes[f"{n}.{name}.panels"] = outputs * inputs * (1 if precision == "int8" else 2)
            parts = ("bias", "scale", "sum") if precision == "int8" else ("bias",)
            sizes |= {f"{n}.{name}.{part}": 4 * outputs for part in parts}
        sizes |= {f"{n}.attention_norm": 8 * hidden, f"{n}.norm": 8 * hidden}
    return sizes


class PackedWeights:
    """The structures that the kernels read, and the arrays they point to.

    Args:
        architecture: shape of the network.
        arrays: what `packed_arrays` or `compiled_arrays` yields; a name that is missing is a null pointer.
        precision: `bf16` or `int8`.
        prefix: tokens between the first one and the query, in a late-interaction model.
        end: id of the token that ends a text, in a late-interaction model.

    Raises:
        KeyError: an array is missing.
        ValueError: an array has another size than the architecture says.
    """

    def __init__(
        self, architecture: Architecture, arrays: Mapping[str, Array], precision: str, prefix: int = 0, end: int = 0
    ) -> None:
        self.arrays = {name: aligned(array) for name, array in arrays.items()}
        self.precision = precision
        for name, size in _sizes(architecture, precision).items():
            if self.arrays[name].nbytes != size:
                raise ValueError(f"{name} has {self.arrays[name].nbytes} bytes instead of {size}")
        modern = architecture if isinstance(architecture, ModernBertArchitecture) else None
        self._windows = [modern.window if modern and kind == "l" else 0 for kind in _attention(architecture)]
        self.shape = Shape(
            hidden=architecture.hidden,
            inner=architecture.intermediate,
            heads=architecture.heads,
            layers=architecture.layers,
            int8=precision == "int8",
            block=BLOCK,
            pre_norm=modern is not None,
            gated=modern is not None,
            mean=modern is not None and modern.pooling == "mean",
            eps=modern.norm_eps if modern else as_bert(architecture, "BERT").layer_norm_eps,
        )
        self.embeddings = Embeddings(*map(self._address, ("words", "positions", "segments", "norm")))
        kinds = enumerate(_attention(architecture))
        self.layers = (Layer * architecture.layers)(*(self._layer(n, kind) for n, kind in kinds))
        self.head = Head(*map(self._address, ("dense", "dense_bias", "head_norm", "out", "out_bias")))
        if modern:
            self.head.activation, self.head.eps = ACTIVATIONS.index(modern.head_activation), modern.head_norm_eps
        joint = len(self.arrays["cross_bias"]) if "cross_bias" in self.arrays else 0
        self.comparison = Comparison(
            *map(self._address, ("meaning", "piece", "mix", "cross_bias")),
            *map(self._address, ("joint_dense", "joint_dense_bias", "joint_out", "joint_out_bias")),
            joint,
            prefix,
            end,
        )

    def _layer(self, n: int, kind: str) -> Layer:
        linear = [
            Linear(*(self._address(f"{n}.{name}.{part}") for part in ("panels", "scale", "sum", "bias")))
            for name in ("projection", "output", "up", "down")
        ]
        others = (f"{n}.attention_norm", f"{n}.norm", f"rotary.{kind}")
        return Layer(*linear, *map(self._address, others), self._windows[n])

    def _address(self, name: str) -> int | None:
        array = self.arrays.get(name)
        return None if array is None else int(array.ctypes.data)


def pointer(structure: ctypes.Structure | ctypes.Array[Any]) -> int:
    """Return the address of a structure, which must outlive its use."""
    return ctypes.addressof(structure)
