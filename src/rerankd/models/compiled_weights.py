"""Weights of a compiled model by the names of its network, from the constants of its ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rerankd.models.families.bert import BertArchitecture

Array = npt.NDArray[Any]
Constants = Mapping[str, Array]

BLOCK = 32  # numbers of a 4-bit table that share a scale
SCALE, OFFSET = "calibration.scale", "calibration.offset"
LATE_INTERACTION_CONSTANT = "meaning.weight"  # only late-interaction models have it
JOINT_BIAS = "cross_bias."  # followed by the number of the joint layer


def dequantized(value: Array, scale: Array | None) -> Array:
    """Return a constant as float32: integers times their scale, or the constant itself."""
    return value if scale is None else value.astype(np.float32) * scale


def word_embeddings(constants: Constants, architecture: BertArchitecture) -> Array:
    """Return the table of word embeddings, shape (vocabulary, hidden), float32, from 4-bit blocks, int8 or float32."""
    name = f"{architecture.prefix}.embeddings.word_embeddings.weight"
    if f"{name}.packed" not in constants:
        return dequantized(constants[name], constants.get(f"{name}.scale"))
    packed = constants[f"{name}.packed"].reshape(-1, BLOCK // 2)
    numbers = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - 8
    table = numbers * constants[f"{name}.scale"].reshape(-1, 1).astype(np.float32)
    return table.reshape(architecture.vocabulary, architecture.hidden)


def segment_embeddings(constants: Constants, architecture: BertArchitecture) -> Array:
    """Return the table of segment embeddings; rows that the compiled model does not read are zero."""
    if "segments" in constants:
        return constants["segments"]
    segments = np.zeros((architecture.segment_types, architecture.hidden), np.float32)
    segments[0] = constants["segment"]
    return segments


def calibration(constants: Constants) -> tuple[float, float]:
    """Return what the logits are multiplied by, and what is added then; 1 and 0 for a model without calibration."""
    scale, offset = (float(constants.get(name, default)) for name, default in ((SCALE, 1.0), (OFFSET, 0.0)))
    return scale, offset


def joint_dense(constants: Constants) -> Array:
    """Return the matrix of the head on both first tokens, shape (hidden, 2 hidden), float32."""
    name = "joint_dense.weight"
    return dequantized(constants[name], constants.get(f"{name}.scale"))


def joint_biases(constants: Constants) -> list[Array]:
    """Return the biases of joint layers, shape (heads,) each, in the order of the layers."""
    names = [name for name in constants if name.startswith(JOINT_BIAS)]
    ordered = sorted(names, key=lambda name: int(name.removeprefix(JOINT_BIAS)))
    return [constants[name].reshape(-1) for name in ordered]
