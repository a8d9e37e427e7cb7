"""Compiled int8 models on the native kernels, against ONNX Runtime and against float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from rerankd import InvalidRequestError, Reranker
from rerankd._common.rank_correlation import agreement
from rerankd.compiler.compile import CompileOptions, compile_model
from rerankd.demo import load_traps
from rerankd.models.files import ModelFiles, load_model
from rerankd.scoring.backend import Backend, choose_backend
from rerankd.scoring.encoder import EncodedPair, PairEncoder, TruncationOptions
from rerankd.scoring.native import backend as native_backend
from rerankd.scoring.native.backend import NativeBackend
from rerankd.scoring.onnx_backend import OnnxBackend
from tests.unit.training.material import late_interaction_model

pytestmark = pytest.mark.usefixtures("instructions")


def _pairs(files: ModelFiles) -> list[list[EncodedPair]]:
    """Encode all texts of the demo with each of its queries."""
    encoder, traps = PairEncoder(files.tokenizer(), files.manifest.template), load_traps()
    texts = [document for trap in traps for document in trap.documents]
    encoded = [encoder.encode(trap.query, texts, TruncationOptions(128)) for trap in traps]
    return [[pair for chunks in documents for pair in chunks] for documents in encoded]


def _logits(backend: Backend, groups: list[list[EncodedPair]]) -> list[npt.NDArray[np.float32]]:
    return [np.concatenate([backend.logits([pair]) for pair in group]) for group in groups]


def _agreement(first: Backend, second: Backend, groups: list[list[EncodedPair]]) -> float:
    return agreement(_logits(first, groups), _logits(second, groups)).kendall_tau


def test_the_bundled_model_ranks_as_in_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    files = load_model("mini")
    kernels, groups = NativeBackend(files, threads=1), _pairs(files)[:5]
    assert kernels.precision == "int8"
    assert _agreement(kernels, OnnxBackend(files, threads=1), groups) > 0.93
    monkeypatch.setattr(native_backend, "MIN_PRODUCTS", 1)
    divided = NativeBackend(files, threads=2)
    assert divided.logits(groups[0][:1]).tolist() == kernels.logits(groups[0][:1]).tolist()
    for group in groups[:3]:
        alone = [float(kernels.logits([pair])[0]) for pair in group]
        assert kernels.logits(group).tolist() == alone


@pytest.fixture(scope="module")
def compiled(native_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelFiles]:
    folder = tmp_path_factory.mktemp("compiled")
    for precision in ("fp32", "int8"):
        compile_model(load_model(str(native_checkpoint)), folder / precision, CompileOptions(precision, waive=True))
    return {precision: load_model(str(folder / precision)) for precision in ("fp32", "int8")}


def test_cross_encoders_are_as_close_to_float_as_in_onnx_runtime(compiled: dict[str, ModelFiles]) -> None:
    groups = _pairs(compiled["int8"])
    exact = OnnxBackend(compiled["fp32"], threads=1)
    kernels = _agreement(exact, NativeBackend(compiled["int8"], threads=1), groups)
    runtime = _agreement(exact, OnnxBackend(compiled["int8"], threads=1), groups)
    assert kernels > runtime - 0.02


def test_choice(compiled: dict[str, ModelFiles]) -> None:
    assert choose_backend(load_model("mini")).name == "native"
    assert choose_backend(compiled["int8"]).name == "native"
    assert choose_backend(compiled["int8"], backend="onnx").name == "onnx"
    assert choose_backend(compiled["fp32"]).name == "onnx"
    with pytest.raises(InvalidRequestError, match="is compiled to fp32; the native kernels compute int8 files"):
        choose_backend(compiled["fp32"], backend="native")


def test_rankings_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    query, documents = "capital of France", ["Pears are fruit.", "Paris is the capital of France.", "", "  "]
    kernels, runtime = Reranker(), Reranker(backend="onnx")
    assert kernels.backend == "native cpu int8"
    assert runtime.backend == "onnx cpu int8"
    orders = [[result.index for result in reranker.rank(query, documents, None)] for reranker in (kernels, runtime)]
    assert orders[0] == orders[1]
    assert orders[0][0] == 1


@pytest.mark.parametrize("joint_layers", [0, 1, 2])
def test_late_interaction(bert: Path, tmp_path: Path, joint_layers: int) -> None:
    """With joint layers, the last ones read both texts, and two heads add a bias between them."""
    exact, quantized = (
        load_model(str(late_interaction_model(bert, tmp_path / kind, kind, 0, joint_layers, size=64, heads=2)))
        for kind in ("fp32", "int8")
    )
    groups = _pairs(exact)[:4]
    expected, runtime, kernels = (
        np.concatenate(_logits(backend, groups))
        for backend in (
            OnnxBackend(exact, threads=1),
            OnnxBackend(quantized, threads=1),
            NativeBackend(quantized, threads=1),
        )
    )
    assert np.abs(kernels - expected).mean() < 1.1 * np.abs(runtime - expected).mean()
    assert np.corrcoef(kernels, expected)[0, 1] > 0.95
