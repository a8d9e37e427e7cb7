"""The native backend against transformers, on networks small enough for unit tests."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rerankd import CorruptModelError, InvalidRequestError, Reranker
from rerankd.models.files import ModelFiles, load_model
from rerankd.scoring.backend import Backend, choose_backend
from rerankd.scoring.encoder import EncodedPair
from rerankd.scoring.native import backend as native_backend
from rerankd.scoring.native import library
from rerankd.scoring.native.backend import NativeBackend
from rerankd.scoring.parallel import WorkerPool

LENGTHS = (3, 15, 16, 17, 31, 32, 33, 48, 64, 65, 100, 190, 300, 512)
pytestmark = pytest.mark.usefixtures("instructions")


@pytest.fixture(scope="module")
def files(native_checkpoint: Path) -> ModelFiles:
    return load_model(str(native_checkpoint))


@pytest.fixture(scope="module")
def pairs(files: ModelFiles) -> list[EncodedPair]:
    draw = np.random.default_rng(0)
    vocabulary = files.manifest.architecture.vocabulary
    return [EncodedPair(draw.integers(5, vocabulary, length), length // 3, False) for length in LENGTHS]


@pytest.fixture(scope="module")
def expected(files: ModelFiles, pairs: list[EncodedPair]) -> npt.NDArray[np.floating[Any]]:
    import torch
    from transformers import AutoModelForSequenceClassification

    network = AutoModelForSequenceClassification.from_pretrained(files.folder).eval()

    def logit(pair: EncodedPair) -> float:
        feed = {"input_ids": torch.from_numpy(pair.ids)[None]}
        if files.manifest.architecture.segments:
            feed["token_type_ids"] = (torch.arange(len(pair)) >= pair.document_start).long()[None]
        with torch.inference_mode():
            return float(network(**feed).logits[0, 0])

    return np.array([logit(pair) for pair in pairs])


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.1), ("int8", 0.25)])
def test_logits_are_those_of_transformers(
    files: ModelFiles, pairs: list[EncodedPair], expected: npt.NDArray[np.floating[Any]], precision: str,
    tolerance: float,
) -> None:  # fmt: skip
    backend = NativeBackend(files, precision=precision)
    logits = backend.logits(pairs)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance * expected.std())


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_scores_do_not_depend_on_the_batch(files: ModelFiles, pairs: list[EncodedPair], precision: str) -> None:
    backend = NativeBackend(files, precision=precision)
    alone = [float(backend.logits([pair])[0]) for pair in pairs]
    assert backend.logits(pairs).tolist() == alone
    assert backend.logits(pairs[::-1]).tolist() == alone[::-1]
    assert backend.logits(pairs * 5).tolist() == alone * 5


def test_working_memory_is_reused_and_released(files: ModelFiles, pairs: list[EncodedPair]) -> None:
    backend = NativeBackend(files)
    before = backend.logits(pairs).tolist()
    kept = backend._memory.array
    assert backend.logits(pairs[:3]).tolist() == before[:3]
    assert backend._memory.array is kept
    backend.release()
    assert backend._memory.array is None
    assert backend.logits(pairs).tolist() == before
    assert backend.logits([]).shape == (0,)


def test_one_thread_or_many(native_checkpoint: Path, texts: list[str]) -> None:
    pairs = [(texts[0], text) for text in texts]
    scores = [
        Reranker(str(native_checkpoint), backend="native", precision="int8", threads=threads)
        .score(pairs, activation="none")
        .tolist()
        for threads in (1, 2, 3)
    ]
    assert scores[0] == scores[1] == scores[2]
    assert Reranker(str(native_checkpoint), backend="native").backend == "native cpu bf16"


def test_choice(files: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_backend(files, device="cpu").precision == "bf16"
    assert choose_backend(files, device="cpu", precision="int8").name == "native"
    assert choose_backend(files, device="cpu", precision="fp32").name == "torch"
    assert choose_backend(files, device="cpu", backend="torch").name == "torch"
    monkeypatch.setattr(library, "unavailable", lambda: "This CPU has no AVX-512.")
    assert choose_backend(files, device="cpu").name == "torch"
    with pytest.raises(InvalidRequestError, match=r"This CPU has no AVX-512\. Use backend auto\."):
        choose_backend(files, backend="native")


def test_refused(files: ModelFiles) -> None:
    with pytest.raises(InvalidRequestError, match=r"does not support fp32\. Use bf16 or int8"):
        NativeBackend(files, precision="fp32")
    narrow = replace(files.manifest.architecture, heads=8)
    with pytest.raises(InvalidRequestError, match="attention heads of a multiple of 32"):
        NativeBackend(replace(files, manifest=replace(files.manifest, architecture=narrow)))


def test_switched_off(files: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANKD_NATIVE", "off")
    assert choose_backend(files, device="cpu").name == "torch"
    with pytest.raises(
        InvalidRequestError, match="switched off by the environment variable RERANKD_NATIVE. Use backend"
    ):
        NativeBackend(files)


def test_tokens_beyond_the_model_are_refused(files: ModelFiles, pairs: list[EncodedPair]) -> None:
    backend = NativeBackend(files)
    beyond = replace(pairs[3], ids=pairs[3].ids + files.manifest.architecture.vocabulary)
    with pytest.raises(CorruptModelError, match=r"The tokenizer gives token \d+, but the model has \d+ of them"):
        backend.logits([pairs[0], beyond])


def test_few_batches_use_several_cores(files: ModelFiles, pairs: list[EncodedPair]) -> None:
    backend, threads = NativeBackend(files, threads=8), set()

    def compute(own: Backend, batch: EncodedPair) -> float:
        threads.add(threading.current_thread().name)
        return float(own.logits([batch])[0])

    alone = [float(backend.logits([pair])[0]) for pair in pairs[:3]]
    assert list(WorkerPool(backend).map(compute, pairs[:3])) == alone
    assert "MainThread" not in threads


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_pair_that_is_divided_among_threads(
    files: ModelFiles, pairs: list[EncodedPair], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_backend, "MIN_PRODUCTS", 1)
    one, many = (NativeBackend(files, precision=precision, threads=threads) for threads in (1, 5))
    assert [many.logits([pair]).tolist() for pair in pairs] == [one.logits([pair]).tolist() for pair in pairs]
