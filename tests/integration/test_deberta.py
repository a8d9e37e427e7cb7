"""A DeBERTa-v3 reranker through transformers, sentence-transformers and our backends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rerankd import Reranker
from rerankd.models.files import load_model
from tests.conftest import compile_twice
from tests.families.deberta import deberta_checkpoint
from tests.integration.test_parity import LENGTH, TOLERANCE, Scores, loaded, reference_ids

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[16, -1], ids=["buckets", "no buckets"])
def checkpoint(request: pytest.FixtureRequest, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "deberta"
    return deberta_checkpoint(folder, texts, position_buckets=request.param)


@pytest.fixture(scope="module")
def compiled(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return compile_twice(checkpoint, tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="module")
def pairs(mixed_pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return mixed_pairs[:100]


@pytest.fixture(scope="module")
def expected(checkpoint: Path, pairs: list[tuple[str, str]]) -> Scores:
    import torch

    tokenizer, model = loaded(checkpoint)
    with torch.inference_mode():
        ids = [reference_ids(tokenizer, *pair, "only_second")[0] for pair in pairs]
        return np.array([float(model(input_ids=torch.tensor([row])).logits) for row in ids])


def scores_of(folder: Path, pairs: list[tuple[str, str]], **options: str) -> Scores:
    return Reranker(str(folder), max_length=LENGTH, **options).score(pairs, activation="none")  # type: ignore[arg-type]


def test_torch(checkpoint: Path, expected: Scores, pairs: list[tuple[str, str]]) -> None:
    scores = scores_of(checkpoint, pairs, backend="torch", device="cpu", precision="fp32")
    assert np.std(expected) > 0.05
    np.testing.assert_allclose(scores, expected, atol=TOLERANCE)


def test_onnx(compiled: dict[str, Path], expected: Scores, pairs: list[tuple[str, str]]) -> None:
    np.testing.assert_allclose(scores_of(compiled["fp32"], pairs), expected, atol=TOLERANCE)


def test_int8_ranks_nearly_the_same(compiled: dict[str, Path], expected: Scores, pairs: list[tuple[str, str]]) -> None:
    parity = load_model(str(compiled["int8"])).manifest.parity
    assert parity is not None
    assert parity["kendall_tau"] > 0.8
    assert np.corrcoef(scores_of(compiled["int8"], pairs), expected)[0, 1] > 0.98


def test_both_agree_with_cross_encoder(
    checkpoint: Path, compiled: dict[str, Path], pairs: list[tuple[str, str]]
) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    reference = CrossEncoder(str(checkpoint), max_length=LENGTH, device="cpu", activation_fn=torch.nn.Identity())
    expected = reference.predict(pairs, batch_size=32, show_progress_bar=False)
    for folder in (checkpoint, compiled["fp32"]):
        scores = Reranker(str(folder), max_length=LENGTH, truncation="longest_first").score(pairs, activation="none")
        np.testing.assert_allclose(scores, expected, atol=TOLERANCE)


def test_the_file_takes_padded_batches(compiled: dict[str, Path], pairs: list[tuple[str, str]]) -> None:
    import onnxruntime

    from rerankd.scoring.encoder import PairEncoder, TruncationOptions

    files = load_model(str(compiled["fp32"]))
    encoder = PairEncoder(files.tokenizer(), files.manifest.template)
    rows = [encoder.encode(query, [text], TruncationOptions(LENGTH))[0][0].ids for query, text in pairs[:12]]
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    mask = np.zeros_like(ids)
    for row, values in enumerate(rows):
        ids[row, : len(values)], mask[row, : len(values)] = values, 1
    session = onnxruntime.InferenceSession(str(files.folder / "model.onnx"), providers=["CPUExecutionProvider"])
    logits = session.run(None, {"input_ids": ids, "attention_mask": mask})[0][:, 0]
    np.testing.assert_allclose(logits, scores_of(compiled["fp32"], pairs[:12]), atol=TOLERANCE)
