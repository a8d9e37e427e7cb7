"""Constants of an ONNX file, read without the onnx package, which is not part of the base install.

Only what is needed of protocol buffers is decoded: fields of a message are skipped or read by their numbers, which
onnx.proto gives.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rerankd.errors import CorruptModelError

Array = npt.NDArray[Any]

_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_DIMS, _DATA_TYPE, _FLOATS, _INT32S, _INT64S, _NAME, _RAW_DATA, _EXTERNAL_DATA = 1, 2, 4, 5, 7, 8, 9, 13
_KEY, _VALUE = 1, 2
_TYPES: dict[int, str] = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def onnx_constants(path: Path) -> dict[str, Array]:
    """Return the constants of an ONNX file by name; large ones are mapped, not read.

    Args:
        path: the file; data that it keeps in other files is looked for beside it.

    Raises:
        CorruptModelError: it is not an ONNX file, or is truncated.
        OSError: it cannot be read.

    Example:
        >>> from rerankd.models.reference import bundled_folder
        >>> onnx_constants(bundled_folder("mini") / "model.onnx")["meaning.weight"].shape
        (384, 1)
    """
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
        found = {}
        for number, graph in _fields(data):
            if number == _MODEL_GRAPH:
                for kind, tensor in _fields(graph):
                    if kind == _GRAPH_INITIALIZER:
                        name, array = _tensor(tensor, path.parent)
                        found[name] = array
        return found
    except (IndexError, KeyError, ValueError, TypeError, struct.error) as error:
        raise CorruptModelError(
            f"{path} is truncated or not an ONNX file ({error}).", hint="Compile the model again."
        ) from error


def _tensor(message: Array, folder: Path) -> tuple[str, Array]:
    dims: list[int] = []
    kind, name, raw, external = 0, "", None, dict[str, str]()
    numbers: list[Array] = []
    for number, value in _fields(message):
        if number == _DIMS:
            dims += [value] if isinstance(value, int) else _packed_numbers(value)
        elif number == _DATA_TYPE:
            kind = int(value)
        elif number == _NAME:
            name = bytes(value).decode()
        elif number == _RAW_DATA:
            raw = value
        elif number == _EXTERNAL_DATA:
            entry = {key: bytes(text).decode() for key, text in _fields(value)}
            external[entry[_KEY]] = entry[_VALUE]
        elif number == _FLOATS:
            numbers.append(np.frombuffer(bytes(value), "<f4"))
        elif number in (_INT32S, _INT64S):
            numbers.append(np.array([value] if isinstance(value, int) else _packed_numbers(value), np.int64))
    dtype = np.dtype(_TYPES[kind])
    if external:
        raw = _external(folder, external)
    if raw is None:
        values = np.concatenate(numbers) if numbers else np.empty(0)
        return name, values.astype(dtype).reshape(dims)
    if raw.size != math.prod(dims) * dtype.itemsize:
        raise ValueError(f"{name} has {raw.size} bytes for a shape of {dims}")
    return name, raw.view(dtype).reshape(dims)


def _external(folder: Path, place: dict[str, str]) -> Array:
    name = place["location"]
    if Path(name).name != name:
        raise ValueError(f"its data is in {name!r}, outside its folder")
    data = np.memmap(folder / name, dtype=np.uint8, mode="r")
    start = int(place.get("offset", 0))
    return data[start : start + int(place["length"])] if "length" in place else data[start:]


def _fields(message: Array) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each field: an integer, or bytes as an array that shares the memory."""
    position, end = 0, len(message)
    while position < end:
        key, position = _varint(message, position)
        wire = key & 7
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield key >> 3, value
            continue
        if wire == _BYTES:
            size, position = _varint(message, position)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"a field of kind {wire}")
        if position + size > end:
            raise ValueError(f"{position + size - end} bytes are missing")
        yield key >> 3, message[position : position + size]
        position += size


def _varint(message: Array, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = int(message[position])
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _packed_numbers(message: Array) -> list[int]:
    numbers, position = [], 0
    while position < len(message):
        number, position = _varint(message, position)
        numbers.append(number - (1 << 64) if number >= 1 << 63 else number)
    return numbers
