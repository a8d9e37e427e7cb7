"""Weights of a compiled model, read back from its ONNX file to train on.

int8 products come back as they are computed: whole numbers times a scale. A model that is written again without
training is the same file but for rounding.
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
MARK = "meaning.weight"


def constants_of(path: Path) -> dict[str, Array]:
    """The constants of an ONNX file, by name.

    Raises:
        MissingDependencyError: onnx is not installed.
    """
    require("onnx", "train", "Training a compiled model")
    import onnx
    from onnx import numpy_helper

    return {one.name: numpy_helper.to_array(one) for one in onnx.load(str(path)).graph.initializer}


def _names(files: ModelFiles) -> set[str]:
    """Names of the constants of a compiled model; what lies in a file beside it is not read."""
    require("onnx", "train", "Training a compiled model")
    import onnx

    return {one.name for one in onnx.load(str(files.folder / ONNX), load_external_data=False).graph.initializer}


def is_late_interaction(files: ModelFiles) -> bool:
    """Whether a compiled model compares states of tokens at its end, as the bundled one does."""
    return files.compiled and MARK in _names(files)


def words_of(files: ModelFiles, precision: str) -> str:
    """How a candidate keeps its word embeddings: as its base does, `int8` or `int4`."""
    name = f"{files.manifest.architecture.prefix}.embeddings.word_embeddings.weight.packed"
    return "int4" if precision == "int8" and files.compiled and name in _names(files) else "int8"


def read_weights(files: ModelFiles) -> dict[str, Array]:
    """Weights of a compiled model under its network's names, float32.

    What `rerankd calibrate` put behind the network goes into its last step.

    Raises:
        InvalidRequestError: the file was not written by this package, or by one that named things otherwise.
    """
    found = constants_of(files.folder / ONNX)
    read = _late_interaction if MARK in found else _cross_encoder
    try:
        weights = read(found, files.manifest.architecture)
    except (KeyError, ValueError) as error:
        raise InvalidRequestError(
            f"{files.reference} is compiled, and its weights cannot be read back ({error}).",
            hint="Pass the checkpoint it was compiled from.",
        ) from error
    return {name: np.require(value, np.float32, ["C", "W", "O"]) for name, value in weights.items()}


def _late_interaction(found: Mapping[str, Array], architecture: Architecture) -> dict[str, Array]:
    weights = _encoder(found, architecture)
    for weigher in ("meaning", "piece"):
        weights |= {f"{weigher}.weight": found[f"{weigher}.weight"].T, f"{weigher}.bias": found[f"{weigher}.bias"]}
    scale, offset = _calibration(found)
    weights |= {"mix": scale * found["mix"].reshape(-1), "bias": scale * found["bias"].reshape(-1) + offset}
    return {named(name): value for name, value in weights.items()}


def _cross_encoder(found: Mapping[str, Array], architecture: Architecture) -> dict[str, Array]:
    weights = _encoder(found, architecture)
    scale, offset = _calibration(found)
    dense, out = architecture.head
    weights |= {f"{dense}.{part}": found[f"{dense}.{part}"] for part in ("weight", "bias")}
    weights |= {f"{out}.weight": scale * found[f"{out}.weight"], f"{out}.bias": scale * found[f"{out}.bias"] + offset}
    if unknown := weights.keys() - architecture.shapes().keys():
        raise ValueError(f"it holds {min(unknown)}")
    for name, shape in architecture.shapes().items():
        if weights[name].shape != shape:
            raise ValueError(f"{name} has shape {weights[name].shape}, not {shape}")
    return weights


def _encoder(found: Mapping[str, Array], architecture: Architecture) -> dict[str, Array]:
    """Embeddings and layers."""
    prefix = f"{architecture.prefix}."
    weights: dict[str, Array] = {}
    for name, value in found.items():
        if name.endswith((".scale", ".packed", ".zero", ".word_embeddings.weight")):
            continue
        if name.endswith(".weight") and ".encoder.layer." in name and "LayerNorm" not in name:
            weights |= _products(name, _scaled(value, found.get(f"{name.removesuffix('.weight')}.scale")))
        elif name.endswith(".attention.bias"):
            parts = ("query", "key", "value")
            layer = name.removesuffix(".bias")
            weights |= {f"{layer}.self.{part}.bias": one for part, one in zip(parts, np.split(value, 3), strict=True)}
        elif name.endswith((".weight", ".bias")) and name.startswith(prefix):
            weights[name] = _scaled(value, found.get(f"{name}.scale"))
    weights[f"{prefix}embeddings.word_embeddings.weight"] = _words(found, architecture)
    weights[f"{prefix}embeddings.token_type_embeddings.weight"] = _kinds(found, architecture)
    return weights


def _kinds(found: Mapping[str, Array], architecture: Architecture) -> Array:
    if "segments" in found:
        return found["segments"]
    kinds = np.zeros((architecture.segment_types, architecture.hidden), np.float32)
    kinds[0] = found["segment"]
    return kinds


def _calibration(found: Mapping[str, Array]) -> tuple[float, float]:
    scale, offset = (float(found.get(name, default)) for name, default in ((SCALE, 1.0), (OFFSET, 0.0)))
    return scale, offset


def _scaled(value: Array, scale: Array | None) -> Array:
    return value if scale is None else value.astype(np.float32) * scale


def _products(name: str, matrix: Array) -> dict[str, Array]:
    """The layers that stand side by side in one matrix of shape (inputs, outputs)."""
    layers = name.removesuffix(".weight").split("+")
    parts = np.split(matrix, len(layers), axis=1)
    return {f"{layer}.weight": part.T for layer, part in zip(layers, parts, strict=True)}


def _words(found: Mapping[str, Array], architecture: Architecture) -> Array:
    name = f"{architecture.prefix}.embeddings.word_embeddings.weight"
    if f"{name}.packed" not in found:
        return _scaled(found[name], found.get(f"{name}.scale"))
    packed = found[f"{name}.packed"].reshape(-1, BLOCK // 2)
    numbers = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - 8
    table = numbers * found[f"{name}.scale"].reshape(-1, 1).astype(np.float32)
    return table.reshape(architecture.vocabulary, architecture.hidden)
