"""The packed network of causal rerankers against transformers, with and without a shared beginning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerankd.models.files import load_model
from rerankd.scoring.encoder import EncodedPair
from rerankd.scoring.packed import shared_prefix
from rerankd.scoring.torch import decoder
from rerankd.scoring.torch.backend import TorchBackend
from rerankd.scoring.torch.causal import causal_batch
from tests.families.causal import write_model


def pairs_of(*sequences: list[int]) -> list[EncodedPair]:
    return [EncodedPair(np.array(ids, dtype=np.int64), 1, False) for ids in sequences]


def random_pairs(shared: int, lengths: tuple[int, ...]) -> list[EncodedPair]:
    draw = np.random.default_rng(3)
    head = draw.integers(0, 1000, shared).tolist()
    return pairs_of(*([*head, number, *draw.integers(0, 1000, size).tolist()] for number, size in enumerate(lengths)))


@pytest.mark.parametrize(
    ("sequences", "length"),
    [
        ([[1, 2, 3]], 2),
        ([[1, 2, 3], [1, 2, 3]], 2),
        ([[1, 2, 3], [1, 2]], 1),
        ([[1, 2, 3], [1, 9, 3], [1, 2, 3]], 1),
        ([[1, 2], [9, 2]], 0),
    ],
)
def test_shared_prefix(sequences: list[list[int]], length: int) -> None:
    assert shared_prefix(pairs_of(*sequences)) == length


@pytest.fixture(scope="module", params=["Qwen3ForCausalLM", "Qwen2ForCausalLM"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    made = tmp_path_factory.mktemp("decoder") / "model"
    options: dict[str, Any] = {"rope_theta": 1e6, "num_key_value_heads": 1}
    return write_model(made, texts, request.param, tie_word_embeddings=True, **options)


@pytest.mark.parametrize(("shared", "lengths"), [(0, (1, 5, 40)), (15, (3, 9)), (16, (0, 3, 30)), (90, (0, 0, 7, 50))])
def test_logits_are_those_of_transformers(folder: Path, shared: int, lengths: tuple[int, ...]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    files = load_model(str(folder))
    pairs = random_pairs(shared, lengths)
    logits = TorchBackend(files, precision="fp32").logits(pairs)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    model.eval()
    yes, no = (files.tokenizer().token_to_id(word) for word in ("yes", "no"))
    for pair, logit in zip(pairs, logits, strict=True):
        with torch.inference_mode():
            last = model(torch.from_numpy(pair.ids)[None]).logits[0, -1]
        assert logit == pytest.approx(float(last[yes] - last[no]), abs=1e-4)


def test_a_shared_beginning_is_computed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    computed: list[Any] = []

    def watched(batch: Any) -> Any:
        computed.append(causal_batch(batch))
        return computed[-1]

    monkeypatch.setattr(decoder, "causal_batch", watched)
    TorchBackend(load_model(str(folder)), precision="fp32").logits(random_pairs(64, (3, 4, 5)))
    assert len(computed[0].ids) == 64 + 4 + 5 + 6


def test_half_precision_is_close(folder: Path) -> None:
    files, pairs = load_model(str(folder)), random_pairs(40, (3, 9, 30))
    exact = TorchBackend(files, precision="fp32").logits(pairs)
    half = TorchBackend(files, precision="bf16")
    np.testing.assert_allclose(half.logits(pairs), exact, atol=0.15 * float(np.abs(exact).max()) + 0.05)
