"""Folders that are no supported reranker: each sentence names what the folder looks like and what to use instead."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rerankd.errors import ModelError
from rerankd.models import families
from rerankd.models.families import StoredWeight
from rerankd.models.files import load_model
from rerankd.models.refusals import layout_of
from rerankd.models.wrong_files import no_config
from tests.families.wrong_folders import WRONG, weights


@pytest.fixture
def folder(bert: Path, tmp_path: Path) -> Path:
    return shutil.copytree(bert, tmp_path / "model")


def refusal(reference: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_model(str(reference))
    return caught.value


@pytest.mark.parametrize("name", WRONG)
def test_wrong_folder(folder: Path, name: str) -> None:
    changes, sentence, hint = WRONG[name]
    for change in changes:
        change(folder)
    error = refusal(folder)
    assert sentence in str(error)
    assert hint in error.hint
    fetched_again = name in ("missing shard", "truncated")
    assert ("Fetch the model again" in error.hint) == fetched_again
    assert len(str(error)) < 700


def test_tokenizer_of_another_model(folder: Path, xlmr: Path) -> None:
    shutil.copy(xlmr / "tokenizer.json", folder)
    assert "The tokenizer has no token '[CLS]', which bert models need. Use tokenizer.json from the same" in str(
        refusal(folder)
    )


def test_empty_folder(tmp_path: Path) -> None:
    assert f"{tmp_path} is empty. Pass the folder with config.json and model.safetensors." in str(refusal(tmp_path))


def test_folder_of_models(folder: Path) -> None:
    error = refusal(folder.parent)
    assert "config.json is missing, and 1 of its folders have one" in error.message
    assert error.hint == f"Pass one of them, such as {folder}."


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("model.safetensors", "Pass the folder with config.json, tokenizer.json and the weights: "),
        ("ranker.gguf", "GGUF is not read; pass the folder or the repository with model.safetensors"),
        ("pytorch_model.bin", "A pickle can run code and is never loaded"),
    ],
)
def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
    (tmp_path / "org").mkdir()
    path = tmp_path / "org" / name
    path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    for reference in (path, path.relative_to(tmp_path)):
        error = refusal(reference)
        assert "is a file, not a model folder" in error.message
        assert hint in error.hint


def test_a_repository_whose_weights_have_another_format(folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("a" * 40)
    shutil.copytree(folder, snapshot, ignore=shutil.ignore_patterns("*.safetensors"))
    assert "if its weights have another format, use a revision with model.safetensors" in refusal(snapshot).hint


@pytest.mark.parametrize("exists", [True, False])
def test_a_repository_without_a_checkpoint(tmp_path: Path, exists: bool) -> None:
    snapshot = tmp_path / "models--org--name-GGUF" / "snapshots" / ("a" * 40)
    if exists:
        snapshot.mkdir(parents=True)
    error = no_config(snapshot)
    assert "the repository has no config.json and no safetensors" in error.message
    assert "that it was converted from" in error.hint


@pytest.mark.parametrize("rows", [128, 256])
def test_merged_weights_of_the_wrong_width(folder: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    layer = "bert.encoder.layer.0.attention.self"
    places = {
        f"{layer}.{part}.weight": StoredWeight("bert.Wqkv.weight", (start, start + 64), 192)
        for part, start in (("query", 0), ("key", 64), ("value", 128))
    }
    merging = replace(families.FAMILIES["bert"], stored_weights=lambda *_: places)
    monkeypatch.setattr(families, "FAMILIES", families.FAMILIES | {"bert": merging})  # type: ignore[operator]
    weights(lambda stored: stored.update({"bert.Wqkv.weight": np.zeros((rows, 64), np.float32)}))(folder)
    error = refusal(folder)
    assert f"the merged weight bert.Wqkv.weight has shape ({rows}, 64), but config.json says (192, 64)" in error.message
    assert "from the same repository" in error.hint
    weights(lambda stored: stored.update({"bert.Wqkv.weight": np.ones((192, 64), np.float32)}))(folder)
    assert load_model(str(folder)).checkpoint().tensor(f"{layer}.value.weight").sum() == 64 * 64


def test_names_that_no_family_uses() -> None:
    assert layout_of(["a.b.weight"]) == ""
    assert layout_of(["model.layers.3.self_attn.q_proj.weight"]) == "a language model such as Qwen3 or Llama"
