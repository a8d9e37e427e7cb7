"""GTE rerankers, as transformers saves them and as they are published, against transformers' network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerankd import Reranker
from rerankd.errors import UnsupportedModelError
from rerankd.models.files import load_model
from tests.conftest import compile_twice
from tests.families.gte import gte_checkpoint, published_layout, set_published_frequencies
from tests.integration.test_parity import LENGTH, TOLERANCE, Scores, loaded, reference_ids

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["published", "transformers", "no segments"])
def kind(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.fixture(scope="module")
def source(kind: str, xlmr: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of transformers' GTE."""
    vocabulary = load_model(str(xlmr)).manifest.architecture.vocabulary
    folder, types = tmp_path_factory.mktemp("models") / "gte", 0 if kind == "no segments" else 1
    return gte_checkpoint(folder, xlmr, vocabulary, type_vocab_size=types)


@pytest.fixture(scope="module")
def checkpoint(kind: str, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if kind == "transformers":
        return source
    return published_layout(source, tmp_path_factory.mktemp("models") / "new")


@pytest.fixture(scope="module")
def compiled(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return compile_twice(checkpoint, tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="module")
def pairs(mixed_pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return mixed_pairs[:100]


@pytest.fixture(scope="module")
def expected(kind: str, source: Path, xlmr: Path, pairs: list[tuple[str, str]]) -> Scores:
    import torch
    from transformers import GteForSequenceClassification

    tokenizer, _ = loaded(xlmr)
    model: Any = GteForSequenceClassification.from_pretrained(source)
    model.eval()
    if kind != "transformers":
        set_published_frequencies(model)
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


def test_the_file_takes_padded_batches(compiled: dict[str, Path], pairs: list[tuple[str, str]]) -> None:
    import onnxruntime

    from rerankd.scoring.encoder import PairEncoder, TruncationOptions

    files = load_model(str(compiled["fp32"]))
    encoder = PairEncoder(files.tokenizer(), files.manifest.template)
    rows = [encoder.encode(query, [text], TruncationOptions(LENGTH))[0][0].ids for query, text in pairs[:12]]
    ids = np.ones((len(rows), max(map(len, rows))), np.int64)
    mask = np.zeros_like(ids)
    for row, values in enumerate(rows):
        ids[row, : len(values)], mask[row, : len(values)] = values, 1
    session = onnxruntime.InferenceSession(str(files.folder / "model.onnx"), providers=["CPUExecutionProvider"])
    logits = session.run(None, {"input_ids": ids, "attention_mask": mask})[0][:, 0]
    np.testing.assert_allclose(logits, scores_of(compiled["fp32"], pairs[:12]), atol=TOLERANCE)


def test_training_is_refused_in_one_sentence(checkpoint: Path) -> None:
    from rerankd.training.network import open_network

    with pytest.raises(UnsupportedModelError, match="belongs to the family gte, which rerankd does not train"):
        open_network(load_model(str(checkpoint)), LENGTH)
