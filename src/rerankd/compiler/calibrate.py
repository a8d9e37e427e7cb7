"""Calibrated copies of models: scale and offset of Platt scaling folded into the weights and recorded in the manifest.

Logits of the copy are `scale * logit + offset`, so its order is the source's and its plain sigmoid is the calibrated
score, wherever it runs: library, service, threshold, cache. The manifest's `calibration` always means parameters that
are in the weights already, as in the bundled model; it is a record, not something to apply again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rerankd._common.files import atomic_folder, writable
from rerankd._common.optional import require
from rerankd.compiler.platt import Platt
from rerankd.errors import InvalidRequestError, UnsupportedModelError
from rerankd.models.checkpoint import weight_files
from rerankd.models.compiled_weights import OFFSET, SCALE
from rerankd.models.families.decoder import DecoderArchitecture
from rerankd.models.files import ONNX, ModelFiles
from rerankd.models.manifest import FILE_NAME, Manifest, sha256, write_manifest

_FOREIGN = (".bin", ".h5", ".msgpack", ".ot", ".pt")


def write_calibrated(files: ModelFiles, out: Path, platt: Platt, figures: Mapping[str, float]) -> Manifest:
    """Copy a model and fold a calibration into the copy.

    Args:
        files: the model, compiled or a checkpoint; it stays as it is.
        out: model folder to make.
        platt: calibration to fold; calibrating a calibrated copy records both as one.
        figures: more figures for the manifest, such as the number of pairs it was fitted on.

    Returns:
        The copy's manifest.

    Raises:
        InvalidRequestError: `out` exists or cannot be written.
        UnsupportedModelError: the head's weights are not float16, bfloat16 or float32, or the checkpoint has no head of
            its own.
        MissingDependencyError: `onnx` is needed for a compiled model and not installed.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidRequestError(f"{out} exists.", hint="Pass a folder that does not exist.")
    if isinstance(files.manifest.architecture, DecoderArchitecture) and not files.compiled:
        raise UnsupportedModelError(
            f"{files.reference}: the head of a causal checkpoint has no bias that a calibration could be folded into.",
            hint="Compile it first (rerankd models compile), and calibrate the compiled model.",
        )
    with writable(out), atomic_folder(out) as working:
        _copy(files.folder, working)
        if files.compiled:
            _fold_graph(working / ONNX, platt)
        else:
            layer, checkpoint = files.manifest.architecture.head_prefixes[-1], files.checkpoint()
            _fold_checkpoint(working, [checkpoint.stored_name(f"{layer}.{part}") for part in ("weight", "bias")], platt)
        manifest = replace(
            files.manifest,
            calibration=_combined(files.manifest.calibration, platt, figures),
            files={path.name: sha256(path) for path in sorted(working.iterdir()) if path.is_file()},
        )
        write_manifest(working, manifest)
    return manifest


def _copy(source: Path, target: Path) -> None:
    """Copy the model's files: links of the hub's cache become files, weights in other formats are left out."""
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name != FILE_NAME and path.suffix not in _FOREIGN:
            shutil.copyfile(path, target / path.name)


def _combined(earlier: Mapping[str, float] | None, platt: Platt, figures: Mapping[str, float]) -> dict[str, float]:
    before = earlier or {}
    return {
        "scale": platt.scale * before.get("scale", 1.0),
        "offset": platt.scale * before.get("offset", 0.0) + platt.offset,
        **figures,
    }


def _fold_graph(path: Path, platt: Platt) -> None:
    """Add two nodes at the end of the graph, or change the values in those of an earlier calibration."""
    onnx = require("onnx", "eval", "Calibrating a compiled model")
    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    constants = {constant.name: constant for constant in graph.initializer}
    scale, offset = platt.scale, platt.offset
    if SCALE in constants:
        before = {name: float(onnx.numpy_helper.to_array(constants[name])) for name in (SCALE, OFFSET)}
        scale, offset = scale * before[SCALE], scale * before[OFFSET] + offset
        graph.initializer.remove(constants[SCALE])
        graph.initializer.remove(constants[OFFSET])
    else:
        name = graph.output[0].name
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [f"{name}.uncalibrated" if tensor == name else tensor for tensor in names]
        graph.node.append(onnx.helper.make_node("Mul", [f"{name}.uncalibrated", SCALE], [f"{name}.scaled"]))
        graph.node.append(onnx.helper.make_node("Add", [f"{name}.scaled", OFFSET], [name]))
    for name, value in ((SCALE, scale), (OFFSET, offset)):
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, dtype=np.float32), name))
    onnx.save(model, str(path))


def _fold_checkpoint(folder: Path, layer: Sequence[str], platt: Platt) -> None:
    """Scale the last layer's weight and bias, given by their stored names, in place in the safetensors file."""
    for path in weight_files(folder):
        with path.open("r+b") as file:
            length = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(length))
            for name, shift in zip(layer, (0.0, platt.offset), strict=True):
                if name not in header:
                    continue
                start, end = (8 + length + offset for offset in header[name]["data_offsets"])
                file.seek(start)
                values = _read(file.read(end - start), header[name]["dtype"])
                file.seek(start)
                file.write(_written(values * platt.scale + shift, header[name]["dtype"]))


def _read(raw: bytes, kind: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    if kind == "BF16":  # the upper half of a float32
        return (np.frombuffer(raw, dtype="<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
    if kind not in ("F16", "F32"):
        raise UnsupportedModelError(f"The head's weights are {kind}.", hint="Use float weights, or compile the model.")
    return np.frombuffer(raw, dtype="<f2" if kind == "F16" else "<f4").astype(np.float64)


def _written(values: np.ndarray[Any, np.dtype[np.float64]], kind: str) -> bytes:
    if kind == "BF16":
        bits = values.astype("<f4").view("<u4")
        return bytes(((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes())  # to nearest, ties to even
    return bytes(values.astype("<f2" if kind == "F16" else "<f4").tobytes())
