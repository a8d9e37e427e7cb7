"""Every way a model folder can be wrong, and the sentence that says so."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rerankd.errors import CorruptModelError, ModelError, ModelNotFoundError, UnsupportedModelError
from rerankd.models.files import load_model
from rerankd.models.manifest import FILE_NAME


@pytest.fixture
def folder(bert: Path, tmp_path: Path) -> Path:
    return shutil.copytree(bert, tmp_path / "model")


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def refused(folder: Path, kind: type[ModelError], sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        load_model(str(folder))


def test_a_whole_checkpoint(folder: Path) -> None:
    files = load_model(str(folder))
    assert not files.compiled
    assert (files.manifest.precision, files.manifest.max_length) == ("fp32", 512)
    assert files.size == (folder / "model.safetensors").stat().st_size


def test_truncated_safetensors(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refused(
        folder, CorruptModelError, r"model.safetensors is truncated or not a safetensors file .* Fetch the model again"
    )


def test_safetensors_cut_to_nothing(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")
    refused(folder, CorruptModelError, "is truncated or not a safetensors file")


def test_foreign_file(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not safetensors")
    refused(folder, CorruptModelError, "is truncated or not a safetensors file")


def test_missing_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    refused(folder, CorruptModelError, "tokenizer.json is missing. Fetch it, or create it with transformers")


def test_broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    refused(folder, CorruptModelError, r"tokenizer.json cannot be read")


def test_tokenizer_of_another_model(folder: Path, xlmr: Path) -> None:
    shutil.copy(xlmr / "tokenizer.json", folder)
    refused(folder, CorruptModelError, r"The tokenizer has no token '\[CLS\]', which bert models need")


def test_tokenizer_with_more_tokens_than_the_model(folder: Path) -> None:
    edit_config(folder, vocab_size=100)
    refused(folder, CorruptModelError, r"the tokenizer has \d+ tokens, the model 100; they do not match")


def test_two_labels(folder: Path) -> None:
    edit_config(folder, id2label={"0": "no", "1": "yes"})
    refused(folder, UnsupportedModelError, "the head has 2 labels; a reranker has one")


def test_bi_encoder_by_its_configuration(folder: Path) -> None:
    edit_config(folder, architectures=["BertModel"])
    refused(folder, UnsupportedModelError, "this is an encoder without a ranking head")


def test_bi_encoder_by_its_weights(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights.pop("classifier.weight"))
    refused(
        folder, CorruptModelError, r"the ranking head is missing \(classifier.weight\).*never initialized at random"
    )


def test_missing_weight(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights.pop("bert.encoder.layer.1.output.dense.weight"))
    refused(folder, CorruptModelError, "the weight bert.encoder.layer.1.output.dense.weight is missing")


def test_weight_of_another_shape(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights.update({"classifier.weight": np.zeros((2, 64), np.float32)}))
    refused(folder, CorruptModelError, r"classifier.weight has shape \(2, 64\), but config.json says \(1, 64\)")


def test_pickled_weights_are_never_loaded(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, CorruptModelError, r"the weights are a pickle \(pytorch_model.bin\), which can run code")


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, CorruptModelError, "there is no model.safetensors")


def test_missing_shard(folder: Path) -> None:
    index = {"weight_map": {"classifier.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()
    refused(folder, CorruptModelError, "the shard model-00001-of-00002.safetensors is missing")


def test_shard_outside_the_folder(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    index = {"weight_map": {"classifier.weight": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, CorruptModelError, "the shard ../model.safetensors is missing")


def test_shards_are_read(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for part, part_names in parts.items():
        save_file({name: weights[name] for name in part_names}, folder / part)
    index = {"weight_map": {name: part for part, part_names in parts.items() for name in part_names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    tensor = load_model(str(folder)).checkpoint().tensor("classifier.weight")
    np.testing.assert_array_equal(tensor, weights["classifier.weight"])


def test_no_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()
    refused(folder, CorruptModelError, "is not a model folder: config.json is missing")


def test_broken_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("[1]")
    refused(folder, CorruptModelError, "config.json is not valid JSON")


def test_no_such_folder(tmp_path: Path) -> None:
    refused(tmp_path / "gone", ModelNotFoundError, "This folder does not exist")


def test_half_precision_weights(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file as load
    from safetensors.torch import save_file as save

    weights = {name: tensor.to(torch.bfloat16) for name, tensor in load(folder / "model.safetensors").items()}
    save(weights, folder / "model.safetensors")
    files = load_model(str(folder))
    assert files.manifest.precision == "bf16"
    expected = weights["classifier.weight"].float().numpy()
    np.testing.assert_array_equal(files.checkpoint().tensor("classifier.weight"), expected)


@pytest.fixture
def compiled_copy(compiled: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(compiled["int8"], tmp_path / "compiled")


def test_changed_file(compiled_copy: Path) -> None:
    with (compiled_copy / "model.onnx").open("r+b") as file:
        file.seek(5000)
        file.write(b"\x01")
    refused(compiled_copy, CorruptModelError, "SHA-256 differs from the manifest; the file was damaged or replaced")


def test_file_that_the_manifest_does_not_vouch_for(compiled_copy: Path) -> None:
    path = compiled_copy / FILE_NAME
    content = json.loads(path.read_text())
    content["files"].pop("model.onnx")
    path.write_text(json.dumps(content))
    refused(compiled_copy, CorruptModelError, "rerankd.json has no SHA-256 for model.onnx")


def test_missing_listed_file(compiled_copy: Path) -> None:
    (compiled_copy / "model.onnx").unlink()
    refused(compiled_copy, CorruptModelError, "model.onnx is missing. Copy the whole folder")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": 1, "template": {"start": [1]}}'])
def test_broken_manifest(compiled_copy: Path, content: str) -> None:
    (compiled_copy / FILE_NAME).write_text(content)
    refused(compiled_copy, CorruptModelError, "is not a valid manifest")


def test_manifest_of_the_future(compiled_copy: Path) -> None:
    path = compiled_copy / FILE_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    refused(compiled_copy, CorruptModelError, "manifest format 99 is newer than this rerankd. Upgrade rerankd.")


def test_manifest_that_points_outside(compiled_copy: Path) -> None:
    path = compiled_copy / FILE_NAME
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"files": {"../../secret": "0" * 64}}))
    refused(compiled_copy, CorruptModelError, "is not a valid manifest")


def test_damaged_onnx_behind_a_right_hash(compiled_copy: Path) -> None:
    from rerankd import Reranker
    from rerankd.models.manifest import sha256

    (compiled_copy / "model.onnx").write_bytes(b"not a graph")
    path = compiled_copy / FILE_NAME
    content = json.loads(path.read_text())
    content["files"]["model.onnx"] = sha256(compiled_copy / "model.onnx")
    path.write_text(json.dumps(content))
    with pytest.raises(CorruptModelError, match=r"model.onnx cannot be loaded .* Compile the model again"):
        Reranker(str(compiled_copy))


def test_a_whole_file_wins_over_an_index_that_is_left_over(folder: Path) -> None:
    expected = load_model(str(folder)).checkpoint().tensor("classifier.weight")
    index = folder / "model.safetensors.index.json"
    for content in ("{", json.dumps({"weight_map": {"classifier.weight": "model-00001-of-00002.safetensors"}})):
        index.write_text(content)
        files = load_model(str(folder))
        assert (files.checkpoint().tensor("classifier.weight") == expected).all()
    shard = {name: np.zeros_like(value) for name, value in load_file(folder / "model.safetensors").items()}
    save_file(shard, folder / "old.safetensors")
    index.write_text(json.dumps({"weight_map": dict.fromkeys(shard, "old.safetensors")}))
    files = load_model(str(folder))
    assert (files.checkpoint().tensor("classifier.weight") == expected).all()
    assert files.size == (folder / "model.safetensors").stat().st_size


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "module.", "module._orig_mod.", "model."])
def test_names_of_wrapped_weights(folder: Path, wrapper: str) -> None:
    expected = load_model(str(folder)).checkpoint().tensor("classifier.weight")

    def wrap(weights: dict[str, np.ndarray]) -> None:
        for name in list(weights):
            weights[wrapper + name] = weights.pop(name)

    edit_weights(folder, wrap)
    checkpoint = load_model(str(folder)).checkpoint()
    assert (checkpoint.tensor("classifier.weight") == expected).all()
    assert checkpoint.stored_name("classifier.bias") == f"{wrapper}classifier.bias"
    renamed = checkpoint.stored_name("classifier.bias")
    for pattern, replacement in checkpoint.key_mapping.items():
        renamed = re.sub(pattern, replacement, renamed)
    assert renamed == "classifier.bias"


def test_an_encoder_that_was_compiled_inside_its_model(folder: Path) -> None:
    def wrap(weights: dict[str, np.ndarray]) -> None:
        for name in list(weights):
            if name.startswith("bert.encoder."):
                weights[name.replace("bert.encoder.", "bert.encoder._orig_mod.")] = weights.pop(name)

    edit_weights(folder, wrap)
    assert load_model(str(folder)).manifest.precision == "fp32"


@pytest.mark.parametrize("with_config", [False, True])
def test_an_adapter_without_its_base(folder: Path, with_config: bool) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    settings = {"base_model_name_or_path": "/gone/base", "peft_type": "LORA", "r": 8, "lora_alpha": 8}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    if not with_config:
        (folder / "config.json").unlink()
    refused(folder, ModelNotFoundError, r"holds an adapter for /gone/base, which is not on this machine")


def test_a_merged_model_beside_its_adapter_is_read(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    assert not load_model(str(folder)).compiled


def test_a_repository_of_the_hubs_cache(bert: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--org--some--name"
    for commit in ("a" * 40, "b" * 40):
        shutil.copytree(bert, repository / "snapshots" / commit)
    refused(repository, ModelNotFoundError, "without one main snapshot .*Pass one of the folders in its snapshots")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("b" * 40)
    files = load_model(str(repository))
    assert files.folder == repository / "snapshots" / ("b" * 40)
    assert (files.manifest.name, files.manifest.revision) == ("org/some--name", "b" * 40)
    shutil.rmtree(repository / "snapshots" / ("b" * 40))
    assert load_model(str(repository)).folder.name == "a" * 40
    shutil.rmtree(repository / "snapshots" / ("a" * 40))
    refused(repository, ModelNotFoundError, r"snapshots: none")
