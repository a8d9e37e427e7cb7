from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerankd.errors import CorruptModelError
from rerankd.models.onnx_constants import onnx_constants
from rerankd.models.reference import bundled_folder

onnx = pytest.importorskip("onnx")


def _write(path: Path, tensors: list[Any], **options: Any) -> None:
    graph = onnx.helper.make_graph([], "g", [], [], tensors)
    onnx.save(onnx.helper.make_model(graph), str(path), **options)


def test_constants_are_those_that_onnx_reads() -> None:
    path = bundled_folder("mini") / "model.onnx"
    expected = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(str(path)).graph.initializer}
    found = onnx_constants(path)
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == expected[name].dtype, name
        np.testing.assert_array_equal(array, expected[name], name)


@pytest.mark.parametrize("kind", ["float32", "float16", "float64", "uint8", "int8", "int32", "int64", "bool"])
def test_types(tmp_path: Path, kind: str) -> None:
    values = np.array([[0, 1, 2], [3, 100, 1]]).astype(kind)
    _write(tmp_path / "m.onnx", [onnx.numpy_helper.from_array(values, "v")])
    found = onnx_constants(tmp_path / "m.onnx")["v"]
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


def test_numbers_in_fields_of_their_own(tmp_path: Path) -> None:
    kinds = onnx.TensorProto
    tensors = [
        onnx.helper.make_tensor("f", kinds.FLOAT, [2], [0.5, -2.0]),
        onnx.helper.make_tensor("i", kinds.INT64, [3], [-1, 0, 2**40]),
        onnx.helper.make_tensor("b", kinds.INT8, [2], [7, 9]),
        onnx.helper.make_tensor("scalar", kinds.FLOAT, [], [3.0]),
        onnx.helper.make_tensor("none", kinds.FLOAT, [0], []),
    ]
    _write(tmp_path / "m.onnx", tensors)
    found = {name: array.tolist() for name, array in onnx_constants(tmp_path / "m.onnx").items()}
    assert found == {"f": [0.5, -2.0], "i": [-1, 0, 2**40], "b": [7, 9], "scalar": 3.0, "none": []}


def test_external_data(tmp_path: Path) -> None:
    values = {name: np.random.default_rng(0).standard_normal((40, 40)).astype(np.float32) for name in "ab"}
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in values.items()]
    _write(tmp_path / "m.onnx", tensors, save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    found = onnx_constants(tmp_path / "m.onnx")
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("keep", [10, 1000, 100_000])
def test_truncated_file(tmp_path: Path, keep: int) -> None:
    whole = (bundled_folder("mini") / "model.onnx").read_bytes()
    (tmp_path / "m.onnx").write_bytes(whole[:keep])
    with pytest.raises(CorruptModelError, match="is truncated or not an ONNX file"):
        onnx_constants(tmp_path / "m.onnx")


@pytest.mark.parametrize("content", [b"no model", b"\xff" * 40, b":\x05*\x03\x42\x0a"])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(CorruptModelError, match="is truncated or not an ONNX file"):
        onnx_constants(tmp_path / "m.onnx")
