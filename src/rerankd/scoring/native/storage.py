"""Packed weights on disk: one file that all processes map into memory, and its table of contents."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rerankd._common.error_text import first_line
from rerankd._common.json_parsing import parse_json
from rerankd.errors import CorruptModelError
from rerankd.models.architecture import Architecture
from rerankd.scoring.native.layout import LINE
from rerankd.scoring.native.weights import PackedWeights

INDEX, WEIGHTS = "index.json", "weights.bin"


def write_weights(folder: Path, weights: PackedWeights, facts: dict[str, Any]) -> None:
    """Write packed weights into a folder.

    Args:
        folder: an empty folder.
        weights: weights to write.
        facts: what else to note in the table of contents, for people.

    Raises:
        OSError: a file cannot be written.
    """
    places: dict[str, Any] = {}
    with (folder / WEIGHTS).open("wb") as file:
        for name, array in weights.arrays.items():
            file.write(b"\0" * (-file.tell() % LINE))
            places[name] = [file.tell(), array.dtype.str, list(array.shape)]
            file.write(array.data)
        size = file.tell()
        file.flush()
        os.fsync(file.fileno())
    index = {**facts, "precision": weights.precision, "bytes": size, "arrays": places}
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")


def read_weights(folder: Path, architecture: Architecture) -> PackedWeights:
    """Map the weights of a folder into memory.

    Raises:
        CorruptModelError: a file is missing or damaged.
        OSError: a file cannot be read now.
    """
    try:
        index = parse_json((folder / INDEX).read_bytes())
        data = np.memmap(folder / WEIGHTS, dtype=np.uint8, mode="r")
        if data.size != index["bytes"]:
            raise ValueError(f"{WEIGHTS} has {data.size} bytes instead of {index['bytes']}")
        arrays = {name: _part(data, *place) for name, place in index["arrays"].items()}
        return PackedWeights(architecture, arrays, str(index["precision"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise CorruptModelError(
            f"{folder} is damaged ({first_line(error)}).", hint="Delete it; it is made again."
        ) from error


def read_facts(folder: Path) -> dict[str, Any]:
    """Return what `write_weights` noted about the weights of a folder; empty if it cannot be read."""
    try:
        index = parse_json((folder / INDEX).read_bytes())
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in index.items() if name != "arrays"} if isinstance(index, dict) else {}


def _part(data: npt.NDArray[np.uint8], start: int, kind: str, shape: list[int]) -> npt.NDArray[Any]:
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    return data[start : start + size].view(kind).reshape(shape)
