"""Weights in the layout of the kernels, in bfloat16 or int8, made from those of a checkpoint."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rerankd.models.architecture import Architecture
from rerankd.scoring.amx.library import Embeddings, Head, Layer, Linear, Shape

Array = npt.NDArray[Any]
Weights = Callable[[str], Array]

BLOCK = 256  # rows whose feed-forward part is computed at a time: the inner states stay in the second-level cache


def bfloat16(values: Array) -> npt.NDArray[np.uint16]:
    """Round float32 to the nearest bfloat16, ties to even.

    Returns:
        The upper 16 bits of each number, in the shape of `values`.

    Example:
        >>> hex(bfloat16(np.array([1.0], np.float32))[0])
        '0x3f80'
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded: npt.NDArray[np.uint16] = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded


def quantized(matrix: Array) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantize the rows of a matrix to -127..127, with one scale each.

    Args:
        matrix: shape (outputs, inputs).

    Returns:
        Numbers of that shape, and scales of shape (outputs,).
    """
    scale = np.maximum(np.abs(matrix).max(axis=1), 1e-12).astype(np.float32) / 127
    return np.rint(matrix / scale[:, None]).astype(np.int8), scale


def panels(rows: Array) -> npt.NDArray[np.uint32]:
    """Arrange a matrix as the right operand of the kernels.

    Args:
        rows: int8 or bfloat16 of shape (outputs, inputs), outputs a multiple of 32 and a row of a multiple of 64 bytes.

    Returns:
        Shape (outputs / 32, row bytes / 64, 2, 16, 16): tiles of 16 groups of four bytes of 16 outputs.
    """
    groups = np.ascontiguousarray(rows).view(np.uint32)
    outputs, count = groups.shape
    tiles = groups.reshape(outputs // 32, 2, 16, count // 16, 16).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(tiles)


class PackedWeights:
    """Weights of a cross-encoder and the structures that point to them.

    Args:
        architecture: shape of the network.
        weight: function that returns a weight as float32 by its name.
        precision: `bf16` or `int8`; attention, normalization and the head are not quantized.
    """

    def __init__(self, architecture: Architecture, weight: Weights, precision: str) -> None:
        self._weight, self._int8 = weight, precision == "int8"
        self._arrays: list[Array] = []  # keeps what the structures point to
        self.shape = Shape(
            architecture.hidden,
            architecture.intermediate,
            architecture.heads,
            architecture.layers,
            self._int8,
            BLOCK,
            architecture.layer_norm_eps,
        )
        prefix = f"{architecture.prefix}.embeddings"
        self.embeddings = Embeddings(
            self._address(bfloat16(weight(f"{prefix}.word_embeddings.weight"))),
            self._address(weight(f"{prefix}.position_embeddings.weight")),
            self._address(weight(f"{prefix}.token_type_embeddings.weight")),
            self._norm(f"{prefix}.LayerNorm"),
        )
        layers = [self._layer(architecture, n) for n in range(architecture.layers)]
        self.layers = (Layer * architecture.layers)(*layers)
        names = [f"{layer}.{part}" for layer in architecture.head for part in ("weight", "bias")]
        self.head = Head(*(self._address(weight(name)) for name in names))

    @property
    def size(self) -> int:
        """Bytes of all weights."""
        return sum(array.nbytes for array in self._arrays)

    def _layer(self, architecture: Architecture, n: int) -> Layer:
        prefix = f"{architecture.prefix}.encoder.layer.{n}"
        attention = f"{prefix}.attention"
        # The scores' divisor, and the logarithm of base 2 that softmax needs, are part of the query's weights.
        scale = 1 / math.sqrt(architecture.hidden // architecture.heads) / math.log(2)
        return Layer(
            self._linear([f"{attention}.self.{part}" for part in ("query", "key", "value")], [scale, 1.0, 1.0]),
            self._linear([f"{attention}.output.dense"]),
            self._linear([f"{prefix}.intermediate.dense"]),
            self._linear([f"{prefix}.output.dense"]),
            self._norm(f"{attention}.output.LayerNorm"),
            self._norm(f"{prefix}.output.LayerNorm"),
        )

    def _linear(self, names: Sequence[str], factors: Sequence[float] = (1.0,)) -> Linear:
        def joined(part: str) -> Array:
            parts = [self._weight(f"{name}.{part}") * np.float32(f) for name, f in zip(names, factors, strict=True)]
            return np.concatenate(parts)

        matrix, scale = joined("weight"), None
        if self._int8:
            matrix, scale = quantized(matrix)
        else:
            matrix = bfloat16(matrix)
        return Linear(
            self._address(panels(matrix)),
            None if scale is None else self._address(scale),
            self._address(joined("bias")),
        )

    def _norm(self, name: str) -> int:
        return self._address(np.concatenate([self._weight(f"{name}.weight"), self._weight(f"{name}.bias")]))

    def _address(self, array: Array) -> int:
        kept = np.ascontiguousarray(array)
        self._arrays.append(kept)
        return int(kept.ctypes.data)


def pointer(structure: ctypes.Structure | ctypes.Array[Any]) -> int:
    """Return the address of a structure, which must outlive its use."""
    return ctypes.addressof(structure)
