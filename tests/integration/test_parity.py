"""The same weights through transformers, sentence-transformers and every backend of ours."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rerankd import Reranker
from rerankd.types import Truncation
from tests.conftest import compile_twice

LENGTH = 128
TOLERANCE = 1e-4
Scores = npt.NDArray[np.floating[Any]]


def reference_ids(tokenizer: Any, query: str, document: str, truncation: str) -> tuple[list[int], list[int]]:
    """Ids and segments by transformers; for only_second the query is cut to 3/4 of the length first."""
    if truncation == "longest_first":
        # Lists, because a lone empty second text is taken for no second text at all.
        encoding = tokenizer([query], [document], truncation=truncation, max_length=LENGTH, return_token_type_ids=True)
        return encoding["input_ids"][0], encoding["token_type_ids"][0]
    first = tokenizer(query, add_special_tokens=False, truncation=True, max_length=LENGTH * 3 // 4)["input_ids"]
    second = tokenizer(document, add_special_tokens=False)["input_ids"]
    middle = [tokenizer.sep_token_id] * (2 if tokenizer.num_special_tokens_to_add(pair=True) == 4 else 1)
    head = [tokenizer.cls_token_id, *first, *middle]
    tail = [*second[: LENGTH - len(head) - 1], tokenizer.sep_token_id]
    return head + tail, [0] * len(head) + [1] * len(tail)


@pytest.fixture(scope="module", params=["only_second", "longest_first"])
def truncation(request: pytest.FixtureRequest) -> Truncation:
    value: Truncation = request.param
    return value


@pytest.fixture(scope="module", params=["whole_xlmr", "bert"])
def checkpoint(request: pytest.FixtureRequest) -> Path:
    """Both families; XLM-R with its real tokenizer."""
    folder: Path = request.getfixturevalue(request.param)
    return folder


_compiled: dict[Path, dict[str, Path]] = {}


@pytest.fixture(scope="module")
def compiled(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    # pytest makes a fixture with parameters again each time that it changes between them.
    if checkpoint not in _compiled:
        _compiled[checkpoint] = compile_twice(checkpoint, tmp_path_factory.mktemp("compiled"))
    return _compiled[checkpoint]


@functools.cache
def loaded(checkpoint: Path) -> tuple[Any, Any]:
    """Return tokenizer and model as transformers loads them; XLM-R's tokenizer takes it seconds."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    return AutoTokenizer.from_pretrained(checkpoint), model


@pytest.fixture(scope="module")
def expected(checkpoint: Path, truncation: str, mixed_pairs: list[tuple[str, str]]) -> Scores:
    import torch

    tokenizer, model = loaded(checkpoint)
    scores = []
    with torch.inference_mode():
        for query, document in mixed_pairs:
            ids, segments = reference_ids(tokenizer, query, document, truncation)
            feed = {"input_ids": torch.tensor([ids])}
            if model.config.model_type == "bert":
                feed["token_type_ids"] = torch.tensor([segments])
            scores.append(float(model(**feed).logits))
    return np.array(scores)


@functools.cache
def opened(folder: Path, **options: Any) -> Reranker:
    return Reranker(str(folder), max_length=LENGTH, **options)


def ours(folder: Path, pairs: list[tuple[str, str]], **options: Any) -> Scores:
    return opened(folder, **options).score(pairs, activation="none")


def test_pairs_are_over_length(checkpoint: Path, mixed_pairs: list[tuple[str, str]]) -> None:
    reranker = opened(checkpoint)
    cut = sum(reranker.rank(query, [document])[0].truncated for query, document in mixed_pairs)
    assert 40 <= cut <= 160, "the workload must hold both"


def test_torch_agrees_with_transformers(
    checkpoint: Path, truncation: Truncation, expected: Scores, mixed_pairs: list[tuple[str, str]]
) -> None:
    logits = ours(checkpoint, mixed_pairs, backend="torch", device="cpu", precision="fp32", truncation=truncation)
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(logits, expected, atol=TOLERANCE)


def test_onnx_agrees_with_transformers(
    compiled: dict[str, Path], truncation: Truncation, expected: Scores, mixed_pairs: list[tuple[str, str]]
) -> None:
    np.testing.assert_allclose(ours(compiled["fp32"], mixed_pairs, truncation=truncation), expected, atol=TOLERANCE)


def test_both_agree_with_cross_encoder(
    checkpoint: Path, compiled: dict[str, Path], mixed_pairs: list[tuple[str, str]]
) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    reference = CrossEncoder(str(checkpoint), max_length=LENGTH, device="cpu", activation_fn=torch.nn.Identity())
    expected = reference.predict(mixed_pairs, batch_size=32, show_progress_bar=False)
    for folder in (checkpoint, compiled["fp32"]):
        logits = ours(folder, mixed_pairs, truncation="longest_first")
        np.testing.assert_allclose(logits, expected, atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["torch", "fp32", "int8"])
def test_scores_do_not_depend_on_batch_mates(
    kind: str, checkpoint: Path, compiled: dict[str, Path], mixed_pairs: list[tuple[str, str]]
) -> None:
    reranker = opened(checkpoint if kind == "torch" else compiled[kind])
    mixed_pairs = mixed_pairs[:100]
    together = reranker.score(mixed_pairs, activation="none")
    alone = np.array([reranker.score([pair], activation="none")[0] for pair in mixed_pairs])
    backwards = reranker.score(mixed_pairs[::-1], activation="none")[::-1]
    if kind == "int8":
        assert (together == alone).all()
        assert (together == backwards).all()
    else:
        np.testing.assert_allclose(together, alone, atol=1e-5)
        np.testing.assert_allclose(together, backwards, atol=1e-5)


def test_compiled_file_takes_padded_batches(compiled: dict[str, Path], mixed_pairs: list[tuple[str, str]]) -> None:
    """The file is for others too: any batch, any length, padding masked."""
    import onnxruntime

    from rerankd.models.files import load_model
    from rerankd.scoring.encoder import PairEncoder, TruncationOptions

    files = load_model(str(compiled["fp32"]))
    encoder = PairEncoder(files.tokenizer(), files.manifest.template)
    truncation = TruncationOptions(LENGTH)
    pairs = [encoder.encode(query, [document], truncation)[0][0] for query, document in mixed_pairs[:12]]
    longest = max(map(len, pairs))
    ids = np.full((len(pairs), longest), files.manifest.architecture.pad_id, dtype=np.int64)
    mask, segments = np.zeros_like(ids), np.zeros_like(ids)
    for row, pair in enumerate(pairs):
        ids[row, : len(pair)] = pair.ids
        mask[row, : len(pair)] = 1
        segments[row, pair.document_start : len(pair)] = 1
    feed = {"input_ids": ids, "attention_mask": mask}
    if files.manifest.architecture.segments:
        feed["token_type_ids"] = segments
    session = onnxruntime.InferenceSession(str(files.folder / "model.onnx"), providers=["CPUExecutionProvider"])
    logits = session.run(None, feed)[0][:, 0]
    np.testing.assert_allclose(logits, ours(compiled["fp32"], mixed_pairs[:12]), atol=1e-4)
