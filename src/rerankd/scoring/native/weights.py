"""Weights in the layout of the kernels, in bfloat16 or int8, made from those of a checkpoint."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rerankd.models.families.bert import BertArchitecture
from rerankd.scoring.native.library import Comparison, Embeddings, Head, Layer, Linear, Shape

Array = npt.NDArray[Any]
Weights = Callable[[str], Array]

LINE = 64  # bytes of a line of the cache
PART = 1 << 20  # numbers that are rounded at a time
BLOCK = 128  # rows whose feed-forward part is computed at a time: the inner states stay in the second-level cache


def bfloat16(values: Array) -> npt.NDArray[np.uint16]:
    """Round float32 to the nearest bfloat16, ties to even.

    Returns:
        The upper 16 bits of each number, in the shape of `values`.

    Example:
        >>> hex(bfloat16(np.array([1.0], np.float32))[0])
        '0x3f80'
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).reshape(-1)
    rounded = np.empty(bits.shape, np.uint16)
    for start in range(0, len(bits), PART):  # in parts: the sums need several times the memory of the table
        part = bits[start : start + PART]
        rounded[start : start + PART] = (part + 0x7FFF + ((part >> 16) & 1)) >> 16
    return rounded.reshape(np.shape(values))


def quantized(matrix: Array) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantize the rows of a matrix to -127..127, with one scale each.

    Args:
        matrix: shape (outputs, inputs).

    Returns:
        Numbers of that shape, and scales of shape (outputs,).
    """
    scale = np.maximum(np.abs(matrix).max(axis=1), 1e-12).astype(np.float32) / 127
    return np.rint(matrix / scale[:, None]).astype(np.int8), scale


def column_sums(matrix: Array) -> npt.NDArray[np.float32]:
    """Return the sums of the integers of each output, shape (outputs,): activations are not symmetric around zero."""
    sums: npt.NDArray[np.float32] = matrix.sum(axis=1, dtype=np.int64).astype(np.float32)
    return sums


def panels(rows: Array) -> npt.NDArray[np.uint32]:
    """Arrange a matrix as the right operand of the kernels.

    Args:
        rows: int8 or bfloat16 of shape (outputs, inputs), outputs a multiple of 32 and a row of a multiple of 64 bytes.

    Returns:
        Shape (outputs / 32, row bytes / 64, 2, 16, 16): tiles of 16 groups of four bytes of 16 outputs.
    """
    groups = np.ascontiguousarray(rows).view(np.uint32)
    outputs, count = groups.shape
    return aligned(groups.reshape(outputs // 32, 2, 16, count // 16, 16).transpose(0, 3, 1, 4, 2))


def aligned(array: Array) -> Array:
    """Return a contiguous array that begins on a line of the cache: itself, or a copy.

    AVX-512 reads lines; one that lies across two lines of the cache takes twice as long.
    """
    if array.flags.c_contiguous and array.ctypes.data % LINE == 0:
        return array
    memory = np.empty(array.nbytes + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    copy: Array = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def packed_arrays(architecture: BertArchitecture, weight: Weights, precision: str) -> Iterator[tuple[str, Array]]:
    """Yield the arrays that the kernels read, by name.

    Attention, normalization and the head are not quantized.

    Args:
        architecture: shape of the network.
        weight: function that returns a weight as float32 by its name.
        precision: `bf16` or `int8`.
    """
    yield from packed_layers(architecture, weight, precision)
    for name, layer in zip(("dense", "out"), architecture.head, strict=True):
        yield name, weight(f"{layer}.weight")
        yield f"{name}_bias", weight(f"{layer}.bias")


def packed_layers(architecture: BertArchitecture, weight: Weights, precision: str) -> Iterator[tuple[str, Array]]:
    """Yield the arrays of embeddings and layers, without those of the head; arguments as for `packed_arrays`."""
    embeddings = f"{architecture.prefix}.embeddings"
    yield "words", bfloat16(weight(f"{embeddings}.word_embeddings.weight"))
    yield "positions", weight(f"{embeddings}.position_embeddings.weight")
    yield "segments", weight(f"{embeddings}.token_type_embeddings.weight")
    yield "norm", _norm(weight, f"{embeddings}.LayerNorm")
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
            yield from _linear(weight, f"{n}.{name}", parts, precision)
        yield f"{n}.attention_norm", _norm(weight, f"{attention}.output.LayerNorm")
        yield f"{n}.norm", _norm(weight, f"{prefix}.output.LayerNorm")


def query_factor(architecture: BertArchitecture) -> float:
    """Return what the query's weights are multiplied by: the divisor of the scores, and base 2 for the softmax."""
    return 1 / math.sqrt(architecture.hidden // architecture.heads) / math.log(2)


def array_count(architecture: BertArchitecture, precision: str) -> int:
    """Return the number of arrays that `packed_arrays` yields."""
    linear = 4 * (4 if precision == "int8" else 2)
    return 8 + architecture.layers * (linear + 2)


def _linear(
    weight: Weights, name: str, parts: Sequence[tuple[str, float]], precision: str
) -> Iterator[tuple[str, Array]]:
    """Yield the arrays of linear layers with the same input, each multiplied by a number."""
    matrix = np.concatenate([weight(f"{layer}.weight") * np.float32(factor) for layer, factor in parts])
    if precision == "int8":
        matrix, scale = quantized(matrix)
        yield f"{name}.scale", scale
        yield f"{name}.sum", column_sums(matrix)
    else:
        matrix = bfloat16(matrix)
    yield f"{name}.panels", panels(matrix)
    yield f"{name}.bias", np.concatenate([weight(f"{layer}.bias") * np.float32(factor) for layer, factor in parts])


def _norm(weight: Weights, name: str) -> Array:
    return np.concatenate([weight(f"{name}.weight"), weight(f"{name}.bias")])


def _sizes(architecture: BertArchitecture, precision: str) -> dict[str, int]:
    """Return the bytes of each array of the embeddings and layers by name."""
    hidden, inner = architecture.hidden, architecture.intermediate
    sizes = {
        "words": 2 * architecture.vocabulary * hidden,
        "positions": 4 * architecture.positions * hidden,
        "segments": 4 * architecture.segment_types * hidden,
        "norm": 8 * hidden,
    }
    layers = {
        "projection": (3 * hidden, hidden),
        "output": (hidden, hidden),
        "up": (inner, hidden),
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
        self, architecture: BertArchitecture, arrays: Mapping[str, Array], precision: str, prefix: int = 0, end: int = 0
    ) -> None:
        self.arrays = {name: aligned(array) for name, array in arrays.items()}
        self.precision = precision
        for name, size in _sizes(architecture, precision).items():
            if self.arrays[name].nbytes != size:
                raise ValueError(f"{name} has {self.arrays[name].nbytes} bytes instead of {size}")
        self.shape = Shape(
            architecture.hidden,
            architecture.intermediate,
            architecture.heads,
            architecture.layers,
            precision == "int8",
            BLOCK,
            architecture.layer_norm_eps,
        )
        self.embeddings = Embeddings(*map(self._address, ("words", "positions", "segments", "norm")))
        self.layers = (Layer * architecture.layers)(*map(self._layer, range(architecture.layers)))
        self.head = Head(*map(self._address, ("dense", "dense_bias", "out", "out_bias")))
        joint = len(self.arrays["cross_bias"]) if "cross_bias" in self.arrays else 0
        self.comparison = Comparison(
            *map(self._address, ("meaning", "piece", "mix", "cross_bias")),
            *map(self._address, ("joint_dense", "joint_dense_bias", "joint_out", "joint_out_bias")),
            joint,
            prefix,
            end,
        )

    def _layer(self, n: int) -> Layer:
        linear = [
            Linear(*(self._address(f"{n}.{name}.{part}") for part in ("panels", "scale", "sum", "bias")))
            for name in ("projection", "output", "up", "down")
        ]
        return Layer(*linear, self._address(f"{n}.attention_norm"), self._address(f"{n}.norm"))

    def _address(self, name: str) -> int | None:
        array = self.arrays.get(name)
        return None if array is None else int(array.ctypes.data)


def pointer(structure: ctypes.Structure | ctypes.Array[Any]) -> int:
    """Return the address of a structure, which must outlive its use."""
    return ctypes.addressof(structure)
