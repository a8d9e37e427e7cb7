"""Weights of a compiled model, read back from its ONNX file for further training.

int8 weights come back dequantized: integers times a scale. A model that is exported again without training is the same
up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rerankd._common.optional import require
from rerankd.compiler.calibrate import OFFSET, SCALE
from rerankd.compiler.graph import BLOCK
from rerankd.compiler.late_interaction_graph import named
from rerankd.errors import InvalidRequestError
from rerankd.models.architecture import Architecture
from rerankd.models.files import ONNX, ModelFiles

Array = np.ndarray[Any, Any]
LATE_INTERACTION_CONSTANT = "meaning.weight"
JOINT_BIAS = "cross_bias."  # followed by the number of the joint layer


def constants_of(path: Path) -> dict[str, Array]:
    """Return the constants of an ONNX file by name.

    Raises:
        MissingDependencyError: onnx is not installed.
    """
    require("onnx", "train", "Training a compiled model")
    import onnx
    from onnx import numpy_helper

    return {constant.name: numpy_helper.to_array(constant) for constant in onnx.load(str(path)).graph.initializer}


def _constant_names(files: ModelFiles) -> set[str]:
    """Return the names of a compiled model's constants, without reading external data files."""
    require("onnx", "train", "Training a compiled model")
    import onnx

    return {
        constant.name for constant in onnx.load(str(files.folder / ONNX), load_external_data=False).graph.initializer
    }


def is_late_interaction(files: ModelFiles) -> bool:
    """Return True for a compiled late-interaction model, such as the bundled one."""
    return files.compiled and LATE_INTERACTION_CONSTANT in _constant_names(files)


def embedding_precision(files: ModelFiles, precision: str) -> str:
    """Return the precision of a candidate's word embeddings, `int8` or `int4`: the same as its base model's."""
    name = f"{files.manifest.architecture.prefix}.embeddings.word_embeddings.weight.packed"
    return "int4" if precision == "int8" and files.compiled and name in _constant_names(files) else "int8"


def read_weights(files: ModelFiles) -> dict[str, Array]:
    """Return the weights of a compiled model by the names of its network, in float32.

    Calibration is folded into the last layer.

    Raises:
        InvalidRequestError: the file was not written by this package, or by an incompatible version.
    """
    constants = constants_of(files.folder / ONNX)
    read = _late_interaction if LATE_INTERACTION_CONSTANT in constants else _cross_encoder
    try:
        weights = read(constants, files.manifest.architecture)
    except (KeyError, ValueError) as error:
        raise InvalidRequestError(
            f"{files.reference} is compiled, and its weights cannot be read back ({error}).",
            hint="Pass the checkpoint it was compiled from.",
        ) from error
    return {name: np.require(value, np.float32, ["C", "W", "O"]) for name, value in weights.items()}


def _late_interaction(constants: Mapping[str, Array], architecture: Architecture) -> dict[str, Array]:
    weights = _encoder(constants, architecture)
    for weigher in ("meaning", "piece"):
        weights |= {
            f"{weigher}.weight": constants[f"{weigher}.weight"].T,
            f"{weigher}.bias": constants[f"{weigher}.bias"],
        }
    scale, offset = _calibration(constants)
    weights |= {"mix": scale * constants["mix"].reshape(-1), "bias": scale * constants["bias"].reshape(-1) + offset}
    biases = [constants[name].reshape(-1) for name in _joint_biases(constants)]
    if biases:
        weights |= {"cross_bias": np.stack(biases)}
        weights |= {f"joint_dense.{part}": constants[f"joint_dense.{part}"] for part in ("weight", "bias")}
        weights |= {f"joint_output.{part}": scale * constants[f"joint_output.{part}"] for part in ("weight", "bias")}
    return {named(name): value for name, value in weights.items()}


def _joint_biases(constants: Mapping[str, Array]) -> list[str]:
    """Return the names of the biases of joint layers, in the order of the layers."""
    names = [name for name in constants if name.startswith(JOINT_BIAS)]
    return sorted(names, key=lambda name: int(name.removeprefix(JOINT_BIAS)))


def _cross_encoder(constants: Mapping[str, Array], architecture: Architecture) -> dict[str, Array]:
    weights = _encoder(constants, architecture)
    scale, offset = _calibration(constants)
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


def _encoder(constants: Mapping[str, Array], architecture: Architecture) -> dict[str, Array]:
    """Return the weights of embeddings and layers."""
    prefix = f"{architecture.prefix}."
    weights: dict[str, Array] = {}
    for name, value in constants.items():
        if name.endswith((".scale", ".packed", ".zero", ".word_embeddings.weight")):
            continue
        if name.endswith(".weight") and ".encoder.layer." in name and "LayerNorm" not in name:
            weights |= _split_layers(name, _dequantize(value, constants.get(f"{name.removesuffix('.weight')}.scale")))
        elif name.endswith(".attention.bias"):
            parts = ("query", "key", "value")
            layer = name.removesuffix(".bias")
            weights |= {f"{layer}.self.{part}.bias": one for part, one in zip(parts, np.split(value, 3), strict=True)}
        elif name.endswith((".weight", ".bias")) and name.startswith(prefix):
            weights[name] = _dequantize(value, constants.get(f"{name}.scale"))
    weights[f"{prefix}embeddings.word_embeddings.weight"] = _word_embeddings(constants, architecture)
    weights[f"{prefix}embeddings.token_type_embeddings.weight"] = _segment_embeddings(constants, architecture)
    return weights


def _segment_embeddings(constants: Mapping[str, Array], architecture: Architecture) -> Array:
    if "segments" in constants:
        return constants["segments"]
    segments = np.zeros((architecture.segment_types, architecture.hidden), np.float32)
    segments[0] = constants["segment"]
    return segments


def _calibration(constants: Mapping[str, Array]) -> tuple[float, float]:
    scale, offset = (float(constants.get(name, default)) for name, default in ((SCALE, 1.0), (OFFSET, 0.0)))
    return scale, offset


def _dequantize(value: Array, scale: Array | None) -> Array:
    return value if scale is None else value.astype(np.float32) * scale


def _split_layers(name: str, matrix: Array) -> dict[str, Array]:
    """Split a matrix of shape (inputs, outputs) that holds several layers side by side."""
    layers = name.removesuffix(".weight").split("+")
    parts = np.split(matrix, len(layers), axis=1)
    return {f"{layer}.weight": part.T for layer, part in zip(layers, parts, strict=True)}


def _word_embeddings(constants: Mapping[str, Array], architecture: Architecture) -> Array:
    name = f"{architecture.prefix}.embeddings.word_embeddings.weight"
    if f"{name}.packed" not in constants:
        return _dequantize(constants[name], constants.get(f"{name}.scale"))
    packed = constants[f"{name}.packed"].reshape(-1, BLOCK // 2)
    numbers = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - 8
    table = numbers * constants[f"{name}.scale"].reshape(-1, 1).astype(np.float32)
    return table.reshape(architecture.vocabulary, architecture.hidden)
