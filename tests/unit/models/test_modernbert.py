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
from rerankd.errors import CorruptModelError, UnsupportedModelError
from rerankd.models.digest import content_digest
from rerankd.models.families import read_architecture
from rerankd.models.families.modernbert import ModernBertArchitecture
from rerankd.models.files import load_model
from rerankd.models.manifest import read_manifest, write_manifest
from rerankd.models.template import PairTemplate
from tests.families.modernbert import write_reranker

GTE: dict[str, Any] = {  # as published: keys of older transformers
    "architectures": ["ModernBertForSequenceClassification"],
    "classifier_activation": "gelu",
    "classifier_bias": False,
    "classifier_pooling": "mean",
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 160000.0,
    "hidden_activation": "gelu",
    "hidden_size": 768,
    "id2label": {"0": "LABEL_0"},
    "intermediate_size": 1152,
    "local_attention": 128,
    "local_rope_theta": 10000.0,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "model_type": "modernbert",
    "norm_eps": 1e-05,
    "num_attention_heads": 12,
    "num_hidden_layers": 22,
    "pad_token_id": 50283,
    "vocab_size": 50368,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    return write_reranker(tmp_path_factory.mktemp("modernbert") / "m", texts, "chain", by_library=False)


@pytest.fixture
def chain(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "m")


def read(**changes: Any) -> ModernBertArchitecture:
    architecture = read_architecture(GTE | changes, "m")
    assert isinstance(architecture, ModernBertArchitecture)
    return architecture


def test_a_published_configuration() -> None:
    architecture = read()
    assert architecture.attention == "gllgllgllgllgllgllgllg"
    assert (architecture.window, architecture.global_base, architecture.local_base) == (64, 160000.0, 10000.0)
    assert (architecture.pooling, architecture.head_bias, architecture.head_norm_bias) == ("mean", False, False)
    assert architecture.max_length == 8192
    assert round(architecture.parameters / 1e6) == 150


def test_keys_of_newer_transformers() -> None:
    new = {
        "global_rope_theta": None,
        "num_hidden_layers": 2,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            "full_attention": {"rope_theta": 7.0, "rope_type": "default"},
            "sliding_attention": {"rope_theta": 5.0, "rope_type": "default"},
        },
    }
    architecture = read(**{key: value for key, value in new.items() if value is not None})
    assert (architecture.attention, architecture.global_base, architecture.local_base) == ("lg", 7.0, 5.0)
    assert read(local_rope_theta=None).local_base == 160000.0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"id2label": {"0": "a", "1": "b"}}, "m: the head has 2 labels; a reranker has one"),
        ({"classifier_pooling": "max"}, "m: classifier_pooling 'max' is not supported. It must be 'cls' or 'mean'"),
        ({"classifier_activation": "silu"}, "m: classifier_activation 'silu' is not supported"),
        ({"hidden_activation": "silu"}, "m: hidden_activation 'silu' is not supported"),
        ({"norm_bias": True}, "m: norm_bias True is not supported"),
        ({"rope_scaling": {"type": "yarn"}}, "m: rope_scaling .* is not supported"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "m: rope_type 'yarn' is not supported"),
        ({"layer_types": ["full_attention"]}, "m: layer_types must name each layer"),
        ({"layer_types": ["other"] * 22}, "m: config.json has no valid value for 'other'"),
        ({"num_attention_heads": 256}, "the width of a head must be even"),
        ({"num_attention_heads": 5}, "m: hidden_size 768 is not a multiple of num_attention_heads 5"),
        ({"local_attention": 1}, "m: local_attention of config.json is 0"),
        ({"architectures": ["ModernBertModel"]}, "m: ModernBertModel: this is an encoder without a ranking head"),
    ],
)
def test_what_is_not_supported(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UnsupportedModelError, match=sentence):
        read(**change)


def test_a_chain_and_its_manifest(chain: Path) -> None:
    files = load_model(str(chain))
    architecture = files.manifest.architecture
    assert isinstance(architecture, ModernBertArchitecture)
    assert (architecture.pooling, architecture.head_norm_bias, files.activation) == ("cls", True, "none")
    assert files.manifest.template == PairTemplate((1,), (2,), (2,))
    write_manifest(chain, files.manifest)
    assert read_manifest(chain) == files.manifest


@pytest.mark.parametrize("prefix", ["model.", "_orig_mod.", "_orig_mod.model."])
def test_names_of_other_classes_and_wrappers(chain: Path, prefix: str) -> None:
    before = load_model(str(chain)).checkpoint().tensor("model.layers.1.mlp.Wi.weight")
    path = chain / "model.safetensors"
    save_file({prefix + name: value for name, value in load_file(path).items()}, path)
    config = json.loads((chain / "config.json").read_text())
    (chain / "config.json").write_text(json.dumps(config | {"architectures": ["ModernBertForMaskedLM"]}))
    np.testing.assert_array_equal(load_model(str(chain)).checkpoint().tensor("model.layers.1.mlp.Wi.weight"), before)


def test_a_bi_encoder_saved_as_a_chain(chain: Path) -> None:
    modules = json.loads((chain / "modules.json").read_text())
    (chain / "modules.json").write_text(json.dumps(modules[:2]))
    with pytest.raises(UnsupportedModelError, match="ModernBertModel with Pooling: this is a bi-encoder"):
        load_model(str(chain))


def test_what_copies_one_folder_says_so(chain: Path, tmp_path: Path) -> None:
    files = load_model(str(chain))
    with pytest.raises(UnsupportedModelError, match=r"Calibrating needs a model in one folder.*Compile it first"):
        write_calibrated(files, tmp_path / "out", Platt(2.0, 1.0), {})


def test_merged_and_renamed_weights(chain: Path) -> None:
    stored = load_file(chain / "model.safetensors")
    checkpoint = load_model(str(chain)).checkpoint()
    merged = stored["layers.1.attn.Wqkv.weight"]
    parts = [checkpoint.tensor(f"model.layers.1.attn.{part}.weight") for part in ("query", "key", "value")]
    np.testing.assert_array_equal(np.concatenate(parts), merged)
    dense = load_file(chain / "4_Dense" / "model.safetensors")
    np.testing.assert_array_equal(checkpoint.tensor("classifier.weight"), dense["linear.weight"])


def test_the_head_is_part_of_the_digest(chain: Path) -> None:
    digest = content_digest(load_model(str(chain)))
    path = chain / "4_Dense" / "model.safetensors"
    save_file({name: value + 1 for name, value in load_file(path).items()}, path)
    assert content_digest(load_model(str(chain))) != digest


def test_a_chain_without_a_head(chain: Path) -> None:
    (chain / "4_Dense" / "model.safetensors").unlink()
    with pytest.raises(CorruptModelError, match=r"4_Dense: there is no model.safetensors. Copy it"):
        load_model(str(chain))


def test_a_head_of_another_size(chain: Path) -> None:
    path = chain / "2_Dense" / "model.safetensors"
    save_file({"linear.weight": np.zeros((8, 64), np.float32)}, path)
    with pytest.raises(
        CorruptModelError, match=r"head.dense.weight has shape \(8, 64\), but config.json says \(64, 64\)"
    ):
        load_model(str(chain))


def test_a_tokenizer_without_special_tokens(chain: Path) -> None:
    path = chain / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"post_processor": None}))
    with pytest.raises(CorruptModelError, match="the tokenizer puts no special tokens around a pair"):
        load_model(str(chain))
