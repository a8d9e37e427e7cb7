"""ModernBERT rerankers in each form, against sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

from rerankd import Reranker
from rerankd.cli.main import app
from rerankd.compiler.compile import CompileOptions, compile_model
from rerankd.models.files import load_model
from rerankd.scoring.backend import cuda_available
from tests.conftest import compile_twice
from tests.families.modernbert import FORMS, write_reranker

LENGTH = 128
TOLERANCE = 1e-4
Scores = npt.NDArray[np.floating[Any]]
Pairs = list[tuple[str, str]]


@pytest.fixture(scope="module", params=FORMS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    return write_reranker(tmp_path_factory.mktemp("modernbert") / request.param, texts, request.param)


@pytest.fixture(scope="module")
def compiled(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return compile_twice(checkpoint, tmp_path_factory.mktemp("compiled"))


def cross_encoder(folder: Path, pairs: Pairs) -> Scores:
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), max_length=LENGTH, device="cpu", activation_fn=torch.nn.Identity())
    scores: Scores = model.predict(pairs, batch_size=16, show_progress_bar=False)
    return scores


def ours(folder: Path, pairs: Pairs, **options: Any) -> Scores:
    reranker = Reranker(str(folder), max_length=LENGTH, truncation="longest_first", **options)
    return reranker.score(pairs, activation="none")


@pytest.fixture(scope="module")
def expected(checkpoint: Path, mixed_pairs: Pairs) -> Scores:
    return cross_encoder(checkpoint, mixed_pairs[:100])


def test_both_backends_agree_with_cross_encoder(
    checkpoint: Path, compiled: dict[str, Path], expected: Scores, mixed_pairs: Pairs
) -> None:
    assert np.std(expected) > 0.1
    logits = ours(checkpoint, mixed_pairs[:100], backend="torch", device="cpu", precision="fp32")
    np.testing.assert_allclose(logits, expected, atol=TOLERANCE)
    np.testing.assert_allclose(ours(compiled["fp32"], mixed_pairs[:100]), expected, atol=TOLERANCE)


def test_int8_passes_its_verification(compiled: dict[str, Path]) -> None:
    parity = load_model(str(compiled["int8"])).manifest.parity
    assert parity is not None
    assert parity["passed"]


@pytest.mark.parametrize("form", ["cls", "mean"])
def test_last_layers_with_local_attention(form: str, tmp_path: Path, texts: list[str], mixed_pairs: Pairs) -> None:
    kinds = ["full_attention", "sliding_attention"]
    options: dict[str, Any] = {
        "num_hidden_layers": 2,
        "layer_types": kinds,
        "classifier_bias": True,
        "classifier_activation": "relu",
    }
    folder = write_reranker(tmp_path / form, texts, form, **options)
    compile_model(load_model(str(folder)), tmp_path / "compiled", CompileOptions("fp32"))
    expected = cross_encoder(folder, mixed_pairs[:20])
    np.testing.assert_allclose(ours(folder, mixed_pairs[:20], backend="torch"), expected, atol=TOLERANCE)
    np.testing.assert_allclose(ours(tmp_path / "compiled", mixed_pairs[:20]), expected, atol=TOLERANCE)


def test_compiled_file_takes_padded_batches(compiled: dict[str, Path], mixed_pairs: Pairs, expected: Scores) -> None:
    import onnxruntime

    from rerankd.scoring.encoder import PairEncoder, TruncationOptions

    files = load_model(str(compiled["fp32"]))
    encoder = PairEncoder(files.tokenizer(), files.manifest.template)
    truncation = TruncationOptions(LENGTH, truncation="longest_first")
    pairs = [encoder.encode(query, [document], truncation)[0][0] for query, document in mixed_pairs[:12]]
    ids = np.zeros((len(pairs), max(map(len, pairs))), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, pair in enumerate(pairs):
        ids[row, : len(pair)], mask[row, : len(pair)] = pair.ids, 1
    session = onnxruntime.InferenceSession(str(files.folder / "model.onnx"), providers=["CPUExecutionProvider"])
    logits = session.run(None, {"input_ids": ids, "attention_mask": mask})[0][:, 0]
    np.testing.assert_allclose(logits, expected[:12], atol=TOLERANCE)


def test_commands(checkpoint: Path, tmp_path: Path) -> None:
    runner, out = CliRunner(), tmp_path / "int4"
    command = ["models", "compile", str(checkpoint), "--out", str(out), "--embedding-precision", "int4", "--json"]
    result = runner.invoke(app, [*command, "--waive-verification"])
    assert result.exit_code == 0, result.output
    for folder, is_compiled in ((checkpoint, False), (out, True)):
        shown = runner.invoke(app, ["models", "show", str(folder), "--json"])
        row = json.loads(shown.stdout)
        assert (row["family"], row["compiled"]) == ("modernbert", is_compiled)
    assert runner.invoke(app, ["models", "verify", str(out)]).exit_code == 0


@pytest.mark.skipif(not cuda_available(), reason="torch sees no CUDA GPU on this machine")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("fp16", 0.02), ("bf16", 0.1)])
def test_gpu_agrees(checkpoint: Path, expected: Scores, mixed_pairs: Pairs, precision: str, tolerance: float) -> None:
    logits = ours(checkpoint, mixed_pairs[:100], device="cuda", precision=precision)
    np.testing.assert_allclose(logits, expected, atol=tolerance)
