from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rerankd import Reranker
from rerankd.errors import UnsupportedModelError
from rerankd.models.files import load_model
from rerankd.models.saved_options import saved_activation, saved_max_length

IDENTITY, SIGMOID = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid"


def write(folder: Path, **files: dict[str, object]) -> None:
    for name, content in files.items():
        path = folder / f"{name}.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(before | content))


@pytest.mark.parametrize(
    ("files", "length"),
    [
        ({"tokenizer_config": {"model_max_length": 128}}, 128),
        ({"tokenizer_config": {"model_max_length": 512.0}}, 512),
        ({"sentence_bert_config": {"max_seq_length": 64}, "tokenizer_config": {"model_max_length": 128}}, 64),
        ({"sentence_bert_config": {"max_seq_length": None}, "tokenizer_config": {"model_max_length": 128}}, 128),
        ({"tokenizer_config": {"model_max_length": 1e30}}, None),
        ({"tokenizer_config": {"model_max_length": True}}, None),
        ({"tokenizer_config": {}}, None),
        ({}, None),
    ],
)
def test_saved_lengths(files: dict[str, dict[str, object]], length: int | None, tmp_path: Path) -> None:
    write(tmp_path, **files)
    assert saved_max_length(tmp_path) == length


@pytest.mark.parametrize(
    ("files", "activation"),
    [
        ({"config_sentence_transformers": {"activation_fn": IDENTITY}}, "Identity"),
        ({"config": {"sentence_transformers": {"activation_fn": SIGMOID, "version": "4.0"}}}, "Sigmoid"),
        ({"config": {"sbert_ce_default_activation_function": IDENTITY}}, "Identity"),
        ({"config": {"sentence_transformers": {"version": "4.0"}}}, ""),
        ({"config": {"sbert_ce_default_activation_function": None}}, ""),
        ({}, ""),
    ],
)
def test_saved_activations(files: dict[str, dict[str, object]], activation: str, tmp_path: Path) -> None:
    write(tmp_path, **files)
    assert saved_activation(tmp_path) == activation


def test_a_model_is_used_as_it_was_saved(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "model")
    pairs = [("what do pandas eat", "bamboo " * 300)]
    plain = Reranker(str(bert))
    write(folder, tokenizer_config={"model_max_length": 64}, config_sentence_transformers={"activation_fn": IDENTITY})
    saved = Reranker(str(folder))
    assert (plain.max_length, saved.max_length) == (512, 64)
    assert saved.score(pairs) == plain.score(pairs, activation="none", max_length=64)
    assert saved.rank(*pairs[0][:1], [pairs[0][1]])[0].relevance_score == saved.score(pairs)[0]
    assert saved.score(pairs, activation="sigmoid") == plain.score(pairs, max_length=64)
    assert Reranker(str(folder), max_length=512).score(pairs, activation="sigmoid") == plain.score(pairs)
    write(folder, tokenizer_config={"model_max_length": 4096})
    assert load_model(str(folder)).manifest.max_length == 512, "no more than the model has positions"


def test_an_activation_that_is_not_computed_is_named(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "model")
    write(folder, config={"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}})
    reranker = Reranker(str(folder))
    with pytest.raises(UnsupportedModelError, match="saved with the activation Tanh, .*Pass activation="):
        reranker.score([("q", "d")])
    assert reranker.score([("q", "d")], activation="sigmoid").shape == (1,)
