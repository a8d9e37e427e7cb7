"""Weights of a compiled late-interaction model, read back from its ONNX file to train on.

int8 products come back as they are computed: whole numbers times a scale. A model that is written again without
training is the same file but for rounding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rerankd.errors import InvalidRequestError
from rerankd.evaluation.fold import OFFSET, SCALE
from rerankd.extras import require
from rerankd.models.architecture import Architecture
from rerankd.models.files import ONNX, ModelFiles
from rerankd.models.graph import BLOCK
from rerankd.models.late_interaction_graph import named

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


def is_late_interaction(files: ModelFiles) -> bool:
    """Whether a compiled model compares states of tokens at its end, as the bundled one does."""
    return files.compiled and MARK in constants_of(files.folder / ONNX)


def read_weights(files: ModelFiles) -> dict[str, Array]:
    """Weights of a late-interaction model under its network's names, float32.

    Raises:
        InvalidRequestError: a compiled model of another kind; those are trained from their checkpoint.
    """
    found = constants_of(files.folder / ONNX)
    if MARK not in found:
        raise InvalidRequestError(
            f"{files.reference} is compiled, and its weights cannot be trained.",
            hint="Pass the checkpoint it was compiled from.",
        )
    architecture = files.manifest.architecture
    weights: dict[str, Array] = {}
    for name, value in found.items():
        if name.endswith((".scale", ".packed", ".zero")):
            continue
        if name.endswith(".weight") and ".encoder.layer." in name and "LayerNorm" not in name:
            weights |= _products(name, _scaled(value, found.get(f"{name.removesuffix('.weight')}.scale")))
        elif name.endswith(".attention.bias"):
            parts = ("query", "key", "value")
            prefix = name.removesuffix(".bias")
            weights |= {f"{prefix}.self.{part}.bias": one for part, one in zip(parts, np.split(value, 3), strict=True)}
        elif name.endswith((".weight", ".bias")) and name.startswith("bert."):
            weights[name] = _scaled(value, found.get(f"{name}.scale"))
    weights["bert.embeddings.word_embeddings.weight"] = _words(found, architecture)
    kinds = np.zeros((architecture.segment_types, architecture.hidden), np.float32)
    kinds[0] = found["segment"]
    weights["bert.embeddings.token_type_embeddings.weight"] = kinds
    for weigher in ("meaning", "piece"):
        weights |= {f"{weigher}.weight": found[f"{weigher}.weight"].T, f"{weigher}.bias": found[f"{weigher}.bias"]}
    # What `rerankd calibrate` put behind the network goes into its last step.
    scale, offset = (float(found.get(name, default)) for name, default in ((SCALE, 1.0), (OFFSET, 0.0)))
    weights |= {"mix": scale * found["mix"].reshape(-1), "bias": scale * found["bias"].reshape(-1) + offset}
    return {named(name): np.ascontiguousarray(value, np.float32) for name, value in weights.items()}


def _scaled(value: Array, scale: Array | None) -> Array:
    return value if scale is None else value.astype(np.float32) * scale


def _products(name: str, matrix: Array) -> dict[str, Array]:
    """The layers that stand side by side in one matrix of shape (inputs, outputs)."""
    layers = name.removesuffix(".weight").split("+")
    parts = np.split(matrix, len(layers), axis=1)
    return {f"{layer}.weight": part.T for layer, part in zip(layers, parts, strict=True)}


def _words(found: dict[str, Array], architecture: Architecture) -> Array:
    name = "bert.embeddings.word_embeddings.weight"
    if f"{name}.packed" not in found:
        return _scaled(found[name], found.get(f"{name}.scale"))
    packed = found[f"{name}.packed"].reshape(-1, BLOCK // 2)
    numbers = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - 8
    table = numbers * found[f"{name}.scale"].reshape(-1, 1).astype(np.float32)
    return table.reshape(architecture.vocabulary, architecture.hidden)
