from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerankd.errors import CorruptModelError, ModelNotFoundError, UnsupportedModelError
from rerankd.retrieval.encoder import ModelEmbedder, open_encoder
from rerankd.retrieval.pooling import read_pooling
from tests.encoders import make_encoder

pytestmark = pytest.mark.slow

TEXTS = ["手机的保修期为一年", "the warranty of phones", "pandas eat bamboo and nothing else at all"]


def reference(folder: Path, family: str, pooling: str, prefix: str) -> Any:
    """Return the embeddings of transformers."""
    import torch
    import transformers

    from rerankd.models.files import load_tokenizer

    kind: Any = transformers.BertModel if family == "bert" else transformers.XLMRobertaModel
    model, tokenizer = kind.from_pretrained(folder).eval(), load_tokenizer(folder)
    rows = []
    with torch.no_grad():
        for text in TEXTS:
            states = model(input_ids=torch.tensor([tokenizer.encode(prefix + text).ids])).last_hidden_state[0]
            pooled = states.mean(0) if pooling == "mean" else states[0]
            rows.append((pooled / pooled.norm()).numpy())
    return np.stack(rows)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_those_of_transformers(tmp_path: Path, family: str, pooling: str) -> None:
    folder = make_encoder(tmp_path / "encoder", family, pooling)
    expected = reference(folder, family, pooling, "query: ")
    exact = ModelEmbedder(folder, "e", ("query: ", "passage: "), precision="fp32")
    assert np.abs(exact.embed(TEXTS, "query") - expected).max() < 1e-4
    small = ModelEmbedder(folder, "e", ("query: ", "passage: "))
    vectors = small.embed(TEXTS, "query")
    assert (vectors * expected).sum(1).min() > 0.98
    assert vectors.shape == (3, small.dimensions)
    assert np.abs(small.embed(TEXTS, "passage") - vectors).max() > 1e-3
    assert small.name == f"e int8 {pooling} query: |passage:"
    assert small.embed([], "query").shape == (0, 32)


def test_special_tokens_are_those_of_the_tokenizer_and_texts_hold_none(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "encoder", "xlm-roberta", "mean", special_tokens=True)
    exact = ModelEmbedder(folder, "e", precision="fp32")
    assert np.abs(exact.embed(TEXTS, "query") - reference(folder, "xlm-roberta", "mean", "")).max() < 1e-4
    ending, spaced = exact.embed(["a </s> b", "a < /s> b"], "query")
    assert np.array_equal(ending, spaced)


@pytest.mark.slow
def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        open_encoder("mini")
    folder = make_encoder(tmp_path / "encoder", "bert", "mean")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(UnsupportedModelError, match="pooling_mode_max_tokens"):
        read_pooling(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["T5Model"]}))
    with pytest.raises(UnsupportedModelError, match="not a text encoder"):
        open_encoder(str(folder))
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(CorruptModelError, match=r"layer\.2"):
        open_encoder(str(folder))
