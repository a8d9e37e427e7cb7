"""Layout of the weights that the kernels read: rounding, order of the numbers in memory, and their addresses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from rerankd.models.architecture import Architecture

Array = npt.NDArray[Any]
Weights = Callable[[str], Array]

LINE = 64  # bytes of a line of the cache
PART = 1 << 20  # numbers that are rounded at a time


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


def linear_arrays(name: str, matrix: Array, bias: Array, precision: str) -> Iterator[tuple[str, Array]]:
    """Yield the arrays of a linear layer.

    Args:
        name: name of the layer in the kernels.
        matrix: float32 of shape (outputs, inputs).
        bias: shape (outputs,).
        precision: `bf16` or `int8`.
    """
    if precision == "int8":
        matrix, scale = quantized(matrix)
        yield f"{name}.scale", scale
        yield f"{name}.sum", column_sums(matrix)
    else:
        matrix = bfloat16(matrix)
    yield f"{name}.panels", panels(matrix)
    yield f"{name}.bias", bias


def query_factor(architecture: Architecture) -> float:
    """Return what the query's weights are multiplied by: the divisor of the scores, and base 2 for the softmax."""
    return 1 / math.sqrt(architecture.hidden // architecture.heads) / math.log(2)
