"""Files of a model that a stranger wrote: each fault is a sentence, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rerankd.errors import CorruptModelError, InvalidInputFileError, ModelNotFoundError, UnsupportedModelError
from rerankd.evaluation.text_io import json_rows
from rerankd.models import hub
from rerankd.models.checkpoint import weight_files
from rerankd.models.families import read_architecture
from rerankd.models.files import read_config
from rerankd.models.manifest import read_manifest
from rerankd.models.reference import parse_reference
from rerankd.models.saved_options import saved_max_length
from rerankd.server.auth.key_file import read_keys

DEEP = "[" * 200_000
CONFIG = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "num_labels": 1,
    "num_hidden_layers": 2,
    "hidden_size": 384,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "vocab_size": 100,
    "max_position_embeddings": 512,
}


@pytest.mark.parametrize("name", ["config.json", "adapter_config.json", "rerankd.json", "model.safetensors.index.json"])
def test_json_that_is_nested_too_deeply(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(DEEP)
    read = {"rerankd.json": read_manifest, "model.safetensors.index.json": weight_files}.get(name, read_config)
    with pytest.raises((CorruptModelError, UnsupportedModelError), match="nested too deeply|not a valid index|adapter"):
        read(tmp_path)


def test_json_of_other_files_that_is_nested_too_deeply(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer_config.json"
    path.write_text(DEEP)
    assert saved_max_length(tmp_path) is None
    with pytest.raises(InvalidInputFileError, match="nested too deeply"):
        list(json_rows(path))
    with pytest.raises(InvalidInputFileError, match="nested too deeply"):
        read_keys(path)


@pytest.mark.parametrize("weights", [{"a": 5}, {"a": None, "b": "x"}, {"a": "../secret"}, {"a": "/etc/passwd"}, [], 5])
def test_shards_that_are_no_files_of_the_folder(tmp_path: Path, weights: object) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    with pytest.raises(CorruptModelError, match="is missing|not a valid index"):
        weight_files(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("architectures", 1.5),
        ("architectures", True),
        ("architectures", {"0": "BertForSequenceClassification"}),
        ("num_labels", "x"),
        ("num_labels", []),
        ("num_labels", float("nan")),
        ("num_labels", None),
        ("hidden_size", float("inf")),
        ("hidden_size", 0),
        ("num_hidden_layers", 10**15),
        ("num_attention_heads", -12),
        ("vocab_size", -1),
        ("max_position_embeddings", 10**12),
        ("type_vocab_size", None),
    ],
)
def test_values_that_no_model_has(name: str, value: object) -> None:
    assert read_architecture(CONFIG, "some/model").layers == 2
    with pytest.raises(UnsupportedModelError, match="some/model: "):
        read_architecture({**CONFIG, name: value}, "some/model")


@pytest.mark.parametrize("name", ["a" * 5000, "~nobody-of-this-name/model", "x\0y", "./" + "b" * 300])
def test_names_that_the_system_cannot_look_up(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="model reference|folder does not exist") as caught:
        parse_reference(name)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("endpoint", ["http://mirror:abc", "https://mirror:99999", "http://[::1"])
def test_a_mirror_whose_url_is_not_valid(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(ModelNotFoundError, match="HF_ENDPOINT is"):
        hub.fetch(parse_reference("some/model"))
    with pytest.raises(ModelNotFoundError, match="HF_ENDPOINT is"):
        hub.cached_models()
