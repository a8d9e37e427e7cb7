"""LoRA adapters over BERT and XLM-RoBERTa: merged as peft merges them, for every reader of weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rerankd.compiler.calibrate import write_calibrated
from rerankd.compiler.platt import Platt
from rerankd.errors import CorruptModelError, ModelError, ModelNotFoundError, UnsupportedModelError
from rerankd.models import hub
from rerankd.models.adapters import AdaptedCheckpoint, LoraConfig, base_reference
from rerankd.models.digest import content_digest
from rerankd.models.files import load_model
from rerankd.models.merged import write_merged
from rerankd.models.reference import ModelReference
from rerankd.registry.registration import _own_copy
from rerankd.scoring.fingerprint import content_of

LAYERS = ["query", "value", "dense"]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"r": 4, "lora_alpha": 16},
    "rank-stabilized": {"r": 4, "lora_alpha": 16, "use_rslora": True},
    "patterns": {
        "r": 4,
        "lora_alpha": 8,
        "rank_pattern": {"layer.0.attention.self.query": 2, "value": 6},
        "alpha_pattern": {r"layer\.\d+\.intermediate.dense": 3, "self.value": 20},
    },
    "head": {"r": 2, "lora_alpha": 2, "modules_to_save": ["classifier"]},
    "embeddings": {"r": 3, "lora_alpha": 9, "target_modules": ["word_embeddings", "key"]},
}


def train_adapter(base: Path, folder: Path, **options: Any) -> Any:
    """Write an adapter with random matrices; return the merged torch model."""
    import torch
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(base)
    adapted = get_peft_model(model, PeftConfig(**{"target_modules": LAYERS, "init_lora_weights": False, **options}))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    return adapted.merge_and_unload().eval()


@pytest.fixture
def adapter(bert: Path, tmp_path: Path) -> Path:
    train_adapter(bert, tmp_path / "adapter", r=4, lora_alpha=8)
    return tmp_path / "adapter"


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder: Path, kind: type[ModelError], sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        load_model(str(folder))


@pytest.mark.parametrize("name", OPTIONS)
def test_merged_like_peft(checkpoint: Path, tmp_path: Path, name: str) -> None:
    merged = train_adapter(checkpoint, tmp_path / "adapter", **OPTIONS[name])
    files = load_model(str(tmp_path / "adapter"))
    weights, plain = files.checkpoint(), load_model(str(checkpoint)).checkpoint()
    changed = 0
    for weight, expected in merged.state_dict().items():
        if weight in files.manifest.architecture.shapes():
            np.testing.assert_allclose(weights.tensor(weight), expected.numpy(), atol=1e-5)
            changed += not np.array_equal(weights.tensor(weight), plain.tensor(weight))
    assert changed >= 3
    assert isinstance(weights, AdaptedCheckpoint)
    assert len(list(weights.changed())) == changed


@pytest.mark.slow
def test_scores_of_every_reader(checkpoint: Path, tmp_path: Path, mixed_pairs: list[tuple[str, str]]) -> None:
    import torch

    from rerankd import Reranker
    from rerankd.compiler.compile import CompileOptions, compile_model
    from rerankd.training.network import logits_of, open_network

    torch.set_num_threads(1)
    merged = train_adapter(checkpoint, tmp_path / "adapter", **OPTIONS["head"])
    reference = str(tmp_path / "adapter")
    files, pairs = load_model(reference), mixed_pairs[:6]
    network = open_network(files, 128)
    assert network.model.name_or_path == ""  # the base alone is not what is trained
    expected = logits_of(network, pairs).numpy()
    network.model = merged
    np.testing.assert_allclose(logits_of(network, pairs).numpy(), expected, atol=1e-5)
    reranker = Reranker(reference, backend="torch", device="cpu", precision="fp32", max_length=128)
    np.testing.assert_allclose(reranker.score(pairs, activation="none"), expected, atol=1e-4)
    compile_model(files, tmp_path / "compiled", CompileOptions("fp32"))
    compiled = Reranker(str(tmp_path / "compiled"), max_length=128)
    np.testing.assert_allclose(compiled.score(pairs, activation="none"), expected, atol=1e-4)
    assert load_model(str(tmp_path / "compiled")).manifest.source == "adapter"


def test_a_merged_copy_scores_alike(adapter: Path, tmp_path: Path) -> None:
    files = load_model(str(adapter))
    (tmp_path / "merged").mkdir()
    write_merged(files, tmp_path / "merged")
    merged = load_model(str(tmp_path / "merged"))
    for name in files.manifest.architecture.shapes():
        np.testing.assert_array_equal(merged.checkpoint().tensor(name), files.checkpoint().tensor(name))
    assert merged.base is None
    assert not (tmp_path / "merged" / "adapter_config.json").exists()


def test_a_calibrated_copy_is_merged(adapter: Path, tmp_path: Path) -> None:
    files = load_model(str(adapter))
    manifest = write_calibrated(files, tmp_path / "calibrated", Platt(2.0, 0.5), {})
    copy = load_model(str(tmp_path / "calibrated"))
    assert (copy.base, copy.manifest.precision, manifest.calibration) == (None, "fp32", {"scale": 2.0, "offset": 0.5})
    before, after = files.checkpoint(), copy.checkpoint()
    query = "bert.encoder.layer.0.attention.self.query.weight"
    np.testing.assert_array_equal(after.tensor(query), before.tensor(query))
    np.testing.assert_allclose(after.tensor("classifier.weight"), 2 * before.tensor("classifier.weight"), rtol=1e-6)
    bias = 2 * before.tensor("classifier.bias") + 0.5
    np.testing.assert_allclose(after.tensor("classifier.bias"), bias, rtol=1e-6)


def test_a_version_in_the_registry_is_merged(adapter: Path, tmp_path: Path) -> None:
    files = load_model(str(adapter))
    copy = load_model(str(_own_copy(files, tmp_path)))
    assert copy.base is None
    assert "model.safetensors" in copy.manifest.files
    for name in files.manifest.architecture.shapes():
        np.testing.assert_array_equal(copy.checkpoint().tensor(name), files.checkpoint().tensor(name))


def test_the_content_depends_on_adapter_and_base(bert: Path, adapter: Path, tmp_path: Path) -> None:
    base = shutil.copytree(bert, tmp_path / "base")
    edit(adapter, base_model_name_or_path=str(base))
    files = load_model(str(adapter))
    seen = [(content_digest(files), content_of(files))]
    for changed in (adapter / "adapter_model.safetensors", base / "model.safetensors"):
        save_file({name: value * 2 for name, value in load_file(changed).items()}, changed)
        seen.append((content_digest(files), content_of(files)))
    for digests in zip(*seen, strict=True):
        assert all(digest not in digests[:row] for row, digest in enumerate(digests))


def test_the_tokenizer_of_the_adapters_folder_wins(bert: Path, adapter: Path) -> None:
    files = load_model(str(adapter))
    assert files.find("tokenizer.json") == Path(files.weights_folder) / "tokenizer.json"
    shutil.copy(bert / "tokenizer.json", adapter)
    (adapter / "tokenizer_config.json").write_text('{"model_max_length": 100}')
    files = load_model(str(adapter))
    assert files.find("tokenizer.json").parent == adapter
    assert files.manifest.max_length == 100
    assert files.size > (adapter / "adapter_model.safetensors").stat().st_size
    files.tokenizer()


def test_a_base_beside_the_adapter(bert: Path, adapter: Path) -> None:
    shutil.copytree(bert, adapter / "base")
    edit(adapter, base_model_name_or_path="base")
    assert load_model(str(adapter)).weights_folder == adapter / "base"


def test_adapter_and_base_on_the_hub(adapter: Path, bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(adapter, base_model_name_or_path="org/base", revision="v2")
    folders, fetched = {"org/adapter": adapter, "org/base": bert}, []

    def fetch(reference: ModelReference, **_: object) -> Path:
        fetched.append(str(reference))
        return folders[reference.name]

    monkeypatch.setattr(hub, "fetch", fetch)
    files = load_model("org/adapter@v1")
    assert fetched == ["org/adapter@v1", "org/base@v2"]
    assert files.base is not None
    assert (files.manifest.name, str(files.base.reference)) == ("org/adapter", "org/base@v2")


def test_a_base_on_the_hub_has_a_revision(adapter: Path) -> None:
    edit(adapter, base_model_name_or_path="org/base", revision="v2")
    assert base_reference(adapter) == "org/base@v2"
    edit(adapter, revision=None)
    assert base_reference(adapter) == "org/base"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"use_dora": True}, "holds an adapter with DoRA, which is not merged. Merge it with peft"),
        ({"peft_type": "IA3"}, "holds an adapter of type IA3; only LORA is merged"),
        ({"bias": "all"}, "an adapter with bias 'all', which is not merged"),
        ({"lora_bias": True}, "an adapter with lora_bias True"),
        ({"init_lora_weights": "pissa_niter_4"}, "an adapter with init_lora_weights 'pissa_niter_4'"),
        ({"layer_replication": [[0, 2]]}, "an adapter with layer_replication"),
    ],
)
def test_options_that_are_not_merged(adapter: Path, changes: dict[str, Any], sentence: str) -> None:
    edit(adapter, **changes)
    refused(adapter, UnsupportedModelError, sentence)


@pytest.mark.parametrize(
    "changes",
    [{"r": 0}, {"r": "x"}, {"lora_alpha": None}, {"alpha_pattern": {"(": 2}}, {"rank_pattern": {"query": 0}}],
)
def test_configurations_that_are_not_valid(adapter: Path, changes: dict[str, Any]) -> None:
    edit(adapter, **changes)
    refused(adapter, CorruptModelError, "is not a valid adapter configuration")


def test_adapters_of_another_model(adapter: Path, xlmr: Path) -> None:
    edit(adapter, base_model_name_or_path=str(xlmr))
    refused(adapter, CorruptModelError, "does not fit its base model .* is no weight of the base model")


def test_a_base_of_another_shape(adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    name = next(name for name in weights if name.endswith("query.lora_A.weight"))
    save_file(weights | {name: weights[name][:, 1:]}, adapter / "adapter_model.safetensors")
    refused(adapter, CorruptModelError, r"query.weight has shape \(64, 63\), the base model's \(64, 64\)")


def test_a_rank_that_the_configuration_does_not_name(adapter: Path) -> None:
    edit(adapter, r=8)
    refused(adapter, CorruptModelError, "has rank 4, but adapter_config.json says 8")


def test_half_an_adapter(adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    weights.pop(next(name for name in weights if "lora_A" in name))
    save_file(weights, adapter / "adapter_model.safetensors")
    refused(adapter, CorruptModelError, "has only one matrix")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    refused(adapter, CorruptModelError, r"its weights are a pickle \(adapter_model.bin\), which is never loaded")
    (adapter / "adapter_model.bin").unlink()
    refused(adapter, CorruptModelError, "adapter_model.safetensors is missing")


def test_weights_of_dora(adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    name = next(iter(weights)).partition(".lora_")[0]
    save_file(
        weights | {f"{name}.lora_magnitude_vector": np.ones(4, np.float32)}, adapter / "adapter_model.safetensors"
    )
    refused(adapter, UnsupportedModelError, "an adapter with DoRA")


def test_bases_that_cannot_be_adapted(adapter: Path, tiny: Path, tmp_path: Path) -> None:
    other = shutil.copytree(adapter, tmp_path / "other")
    edit(other, base_model_name_or_path=str(tiny))
    refused(other, UnsupportedModelError, "which is compiled. Name the checkpoint that it was trained on")
    edit(other, base_model_name_or_path=str(adapter))
    refused(other, UnsupportedModelError, "which is an adapter itself")
    edit(other, base_model_name_or_path=str(other))
    refused(other, UnsupportedModelError, "which is an adapter itself")
    edit(other, base_model_name_or_path=None)
    refused(other, ModelNotFoundError, "names no base model")


def test_scales() -> None:
    config = LoraConfig("b", None, 16, 8, alpha_pattern={"query": 32})
    assert config.scale_of("layer.0.query") == 2
    assert config.scale_of("layer.0.querying") == 0.5
    assert LoraConfig("b", None, 16, 8, rank_stabilized=True).scale_of("x") == 2
