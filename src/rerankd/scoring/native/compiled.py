"""Weights of a compiled int8 model in the layout of the kernels; its integers are kept as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rerankd.models.compiled_weights import (
    LATE_INTERACTION_CONSTANT,
    calibration,
    dequantized,
    joint_biases,
    joint_dense,
    segment_embeddings,
    word_embeddings,
)
from rerankd.models.families.bert import BertArchitecture
from rerankd.scoring.native.layout import bfloat16, column_sums, panels, query_factor

Array = npt.NDArray[Any]
Constants = Mapping[str, Array]


def is_late_interaction(constants: Constants) -> bool:
    """Return whether the constants are those of a late-interaction model."""
    return LATE_INTERACTION_CONSTANT in constants


def compiled_arrays(constants: Constants, architecture: BertArchitecture) -> Iterator[tuple[str, Array]]:
    """Yield the arrays that the kernels read, by name.

    Args:
        constants: constants of an int8 model.
        architecture: shape of its network.

    Raises:
        KeyError: it is not an int8 model that this package wrote.
    """
    prefix = f"{architecture.prefix}.embeddings"
    positions = f"{prefix}.position_embeddings.weight"
    yield "words", bfloat16(word_embeddings(constants, architecture))
    yield "positions", dequantized(constants[positions], constants.get(f"{positions}.scale"))
    yield "segments", segment_embeddings(constants, architecture)
    yield "norm", _norm(constants, f"{prefix}.LayerNorm")
    for n in range(architecture.layers):
        layer = f"{architecture.prefix}.encoder.layer.{n}"
        attention = f"{layer}.attention"
        yield from _projection(constants, architecture, attention, f"{n}.projection")
        for name, source in (
            ("output", f"{attention}.output.dense"),
            ("up", f"{layer}.intermediate.dense"),
            ("down", f"{layer}.output.dense"),
        ):
            matrix, scale = _matrix(constants, [source])
            yield f"{n}.{name}.panels", panels(matrix)
            yield f"{n}.{name}.scale", scale
            yield f"{n}.{name}.sum", column_sums(matrix)
            yield f"{n}.{name}.bias", constants[f"{source}.bias"]
        yield f"{n}.attention_norm", _norm(constants, f"{attention}.output.LayerNorm")
        yield f"{n}.norm", _norm(constants, f"{layer}.output.LayerNorm")
    yield from comparison_arrays(constants) if is_late_interaction(constants) else _head(constants, architecture)


def _projection(
    constants: Constants, architecture: BertArchitecture, attention: str, name: str
) -> Iterator[tuple[str, Array]]:
    query, key, value = (f"{attention}.self.{part}" for part in ("query", "key", "value"))
    joined = f"{query}+{key}+{value}.weight" in constants
    parts = [[query, key, value]] if joined else [[query], [key, value]]  # the last layer of a cross-encoder
    matrices, scales = zip(*(_matrix(constants, part) for part in parts), strict=True)
    factors = np.ones(3 * architecture.hidden, np.float32)
    factors[: architecture.hidden] = query_factor(architecture)
    yield f"{name}.panels", panels(np.concatenate(matrices))
    yield f"{name}.sum", column_sums(np.concatenate(matrices))
    yield f"{name}.scale", np.concatenate(scales) * factors
    yield f"{name}.bias", constants[f"{attention}.bias"] * factors


def _matrix(constants: Constants, layers: Sequence[str]) -> tuple[Array, Array]:
    """Return the integers of layers side by side, shape (outputs, inputs), and the scale of each output."""
    name = "+".join(layers)
    matrix, scale = constants[f"{name}.weight"], constants[f"{name}.scale"]
    return np.ascontiguousarray(matrix.T), scale


def _norm(constants: Constants, name: str) -> Array:
    return np.concatenate([constants[f"{name}.weight"], constants[f"{name}.bias"]])


def _head(constants: Constants, architecture: BertArchitecture) -> Iterator[tuple[str, Array]]:
    dense, out = architecture.head
    scale, offset = calibration(constants)
    yield "dense", constants[f"{dense}.weight"]
    yield "dense_bias", constants[f"{dense}.bias"]
    yield "out", (scale * constants[f"{out}.weight"]).astype(np.float32)
    yield "out_bias", (scale * constants[f"{out}.bias"] + offset).astype(np.float32)


def comparison_arrays(constants: Constants) -> Iterator[tuple[str, Array]]:
    """Yield the arrays of the head of a late-interaction model."""
    scale, offset = calibration(constants)
    for weigher in ("meaning", "piece"):
        parts = [constants[f"{weigher}.{part}"].reshape(-1) for part in ("weight", "bias")]
        yield weigher, np.concatenate(parts)
    mix, bias = (constants[name].reshape(-1) for name in ("mix", "bias"))
    yield "mix", np.concatenate([scale * mix, scale * bias + offset]).astype(np.float32)
    if biases := joint_biases(constants):
        yield "cross_bias", (np.stack(biases) / np.log(2)).astype(np.float32)
        yield "joint_dense", joint_dense(constants)
        yield "joint_dense_bias", constants["joint_dense.bias"]
        yield "joint_out", (scale * constants["joint_output.weight"]).astype(np.float32).reshape(-1)
        yield "joint_out_bias", (scale * constants["joint_output.bias"]).astype(np.float32)
