"""Weights of a compiled model, read back from its ONNX file for further training.

int8 weights come back dequantized: integers times a scale. A model that is exported again without training is the same
up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rerankd.compiler.late_interaction_graph import named
from rerankd.errors import InvalidRequestError
from rerankd.models.compiled_weights import (
    LATE_INTERACTION_CONSTANT,
    calibration,
    dequantized,
    joint_biases,
    joint_dense,
    segment_embeddings,
    word_embeddings,
)
from rerankd.models.families.bert import BertArchitecture, as_bert
from rerankd.models.files import ONNX, ModelFiles
from rerankd.models.onnx_constants import onnx_constants

Array = np.ndarray[Any, Any]


def is_late_interaction(files: ModelFiles) -> bool:
    """Return True for a compiled late-interaction model, such as the bundled one."""
    return files.compiled and LATE_INTERACTION_CONSTANT in onnx_constants(files.folder / ONNX)


def embedding_precision(files: ModelFiles, precision: str) -> str:
    """Return the precision of a candidate's word embeddings, `int8` or `int4`: the same as its base model's."""
    name = f"{files.manifest.architecture.prefix}.embeddings.word_embeddings.weight.packed"
    return "int4" if precision == "int8" and files.compiled and name in onnx_constants(files.folder / ONNX) else "int8"


def read_weights(files: ModelFiles) -> dict[str, Array]:
    """Return the weights of a compiled model by the names of its network, in float32.

    Calibration is folded into the last layer.

    Raises:
        InvalidRequestError: the file was not written by this package, or by an incompatible version.
    """
    constants = onnx_constants(files.folder / ONNX)
    read = _late_interaction if LATE_INTERACTION_CONSTANT in constants else _cross_encoder
    try:
        weights = read(constants, as_bert(files.manifest.architecture, "Reading compiled weights back"))
    except (KeyError, ValueError) as error:
        raise InvalidRequestError(
            f"{files.reference} is compiled, and its weights cannot be read back ({error}).",
            hint="Pass the checkpoint it was compiled from.",
        ) from error
    return {name: np.require(value, np.float32, ["C", "W", "O"]) for name, value in weights.items()}


def _late_interaction(constants: Mapping[str, Array], architecture: BertArchitecture) -> dict[str, Array]:
    weights = _encoder(constants, architecture)
    for weigher in ("meaning", "piece"):
        weights |= {
            f"{weigher}.weight": constants[f"{weigher}.weight"].T,
            f"{weigher}.bias": constants[f"{weigher}.bias"],
        }
    scale, offset = calibration(constants)
    weights |= {"mix": scale * constants["mix"].reshape(-1), "bias": scale * constants["bias"].reshape(-1) + offset}
    if biases := joint_biases(constants):
        weights |= {"cross_bias": np.stack(biases)}
        weights |= {"joint_dense.weight": joint_dense(constants), "joint_dense.bias": constants["joint_dense.bias"]}
        weights |= {f"joint_output.{part}": scale * constants[f"joint_output.{part}"] for part in ("weight", "bias")}
    return {named(name): value for name, value in weights.items()}


def _cross_encoder(constants: Mapping[str, Array], architecture: BertArchitecture) -> dict[str, Array]:
    weights = _encoder(constants, architecture)
    scale, offset = calibration(constants)
    dense, out = architecture.head
    weights |= {f"{dense}.{part}": constants[f"{dense}.{part}"] for part in ("weight", "bias")}
    weights |= {
        f"{out}.weight": scale * constants[f"{out}.weight"],
        f"{out}.bias": scale * constants[f"{out}.bias"] + offset,
    }
    if unknown := weights.keys() - architecture.shapes().keys():
        raise ValueError(f"it holds {min(unknown)}")
    for name, shape in architecture.shapes().items():
        if weights[name].shape != shape:
            raise ValueError(f"{name} has shape {weights[name].shape}, not {shape}")
    return weights


def _encoder(constants: Mapping[str, Array], architecture: BertArchitecture) -> dict[str, Array]:
    """Return the weights of embeddings and layers."""
    prefix = f"{architecture.prefix}."
    weights: dict[str, Array] = {}
    for name, value in constants.items():
        if name.endswith((".scale", ".packed", ".zero", ".word_embeddings.weight")):
            continue
        if name.endswith(".weight") and ".encoder.layer." in name and "LayerNorm" not in name:
            weights |= _split_layers(name, dequantized(value, constants.get(f"{name.removesuffix('.weight')}.scale")))
        elif name.endswith(".attention.bias"):
            parts = ("query", "key", "value")
            layer = name.removesuffix(".bias")
            weights |= {f"{layer}.self.{part}.bias": one for part, one in zip(parts, np.split(value, 3), strict=True)}
        elif name.endswith((".weight", ".bias")) and name.startswith(prefix):
            weights[name] = dequantized(value, constants.get(f"{name}.scale"))
    weights[f"{prefix}embeddings.word_embeddings.weight"] = word_embeddings(constants, architecture)
    weights[f"{prefix}embeddings.token_type_embeddings.weight"] = segment_embeddings(constants, architecture)
    return weights


def _split_layers(name: str, matrix: Array) -> dict[str, Array]:
    """Split a matrix of shape (inputs, outputs) that holds several layers side by side."""
    layers = name.removesuffix(".weight").split("+")
    parts = np.split(matrix, len(layers), axis=1)
    return {f"{layer}.weight": part.T for layer, part in zip(layers, parts, strict=True)}
