from __future__ import annotations

from typing import Any

import pytest

from rerankd.errors import UnsupportedModelError
from rerankd.models.families import StoredWeight, read_architecture
from rerankd.models.families.gte import GteArchitecture, stored_weights

BASE: dict[str, Any] = {
    "model_type": "new",
    "architectures": ["NewForSequenceClassification"],
    "id2label": {"0": "LABEL_0"},
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "vocab_size": 250048,
    "max_position_embeddings": 8192,
    "type_vocab_size": 1,
    "layer_norm_type": "layer_norm",
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "rope",
    "rope_theta": 20000,
    "rope_scaling": {"factor": 8.0, "type": "ntk"},
    "logn_attention_scale": False,
    "pad_token_id": 1,
}
NATIVE = {
    **{name: value for name, value in BASE.items() if not name.startswith("rope")},
    "model_type": "gte",
    "architectures": ["GteForSequenceClassification"],
}


def read(**changes: Any) -> GteArchitecture:
    architecture = read_architecture(BASE | changes, "m")
    assert isinstance(architecture, GteArchitecture)
    return architecture


def test_the_reference_model() -> None:
    architecture = read()
    assert round(architecture.parameters / 1e6) == 306
    assert (architecture.max_length, architecture.segments, architecture.position_offset) == (8192, False, 0)
    assert architecture.rotary_theta == 160_000
    assert architecture.rotary_divisor == pytest.approx(8 ** (2 / 64))


def test_rotary_positions_without_scaling() -> None:
    plain = read(rope_scaling=None)
    assert (plain.rotary_theta, plain.rotary_divisor) == (20_000, 1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (None, (160_000, 1)),
        ({"rope_theta": 500_000.0, "rope_type": "default"}, (500_000, 1)),
        ({"rope_theta": 500_000.0, "rope_type": "linear", "factor": 2.0}, (500_000, 2)),
    ],
)
def test_the_configuration_of_transformers(options: dict[str, Any] | None, expected: tuple[float, float]) -> None:
    architecture = read_architecture(NATIVE | {"rope_parameters": options}, "m")
    assert isinstance(architecture, GteArchitecture)
    assert (architecture.rotary_theta, architecture.rotary_divisor) == expected


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"id2label": {"0": "a", "1": "b"}}, "m: the head has 2 labels; a reranker has one."),
        ({"position_embedding_type": "absolute"}, "position_embedding_type 'absolute' is not supported"),
        ({"layer_norm_type": "rms_norm"}, "layer_norm_type 'rms_norm' is not supported. It must be 'layer_norm'."),
        ({"logn_attention_scale": True}, "logn_attention_scale True is not supported"),
        ({"type_vocab_size": 2}, "type_vocab_size 2 is not supported. It must be 0 or 1."),
        ({"rope_scaling": {"type": "yarn", "factor": 2}}, "rope_scaling .*yarn.* is not supported. Its type must be"),
        ({"rope_scaling": {"type": "ntk", "factor": 2, "mixed_b": 0.6}}, "mixed_b.* is not supported"),
        ({"rope_scaling": {"type": "ntk", "factor": 0}}, "no valid value for .*factor of rope_scaling"),
        ({"rope_scaling": [8]}, "no valid value for rope_scaling"),
        ({"rope_theta": float("nan")}, "no valid value for rope_theta"),
        ({"num_attention_heads": 0}, "num_attention_heads of config.json is 0"),
        ({"num_attention_heads": 7}, "hidden_size 768 is not a multiple of num_attention_heads 7"),
        ({"num_attention_heads": 256}, "attention heads of an even width, not 3"),
        ({"architectures": ["NewModel"]}, "NewModel: this is an encoder without a ranking head"),
    ],
)
def test_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UnsupportedModelError, match=sentence):
        read(**change)


def test_where_weights_are_stored() -> None:
    architecture = read(num_hidden_layers=1)
    places = stored_weights(architecture, ["new.embeddings.word_embeddings.weight"])
    layer = "new.encoder.layer.0"
    assert places[f"{layer}.attention.v_proj.bias"] == StoredWeight(
        f"{layer}.attention.qkv_proj.bias", (1536, 2304), 2304
    )
    assert places[f"{layer}.mlp.up_proj.weight"] == StoredWeight(f"{layer}.mlp.up_gate_proj.weight", (0, 3072), 6144)
    assert places[f"{layer}.mlp.gate_proj.weight"].rows == (3072, 6144)
    assert "classifier.weight" not in places

    native = stored_weights(architecture, ["gte.embeddings.word_embeddings.weight"])
    assert native["new.embeddings.word_embeddings.weight"].name == "gte.embeddings.word_embeddings.weight"
    assert native[f"{layer}.attention.q_proj.weight"].name == "gte.encoder.layer.0.attention.qkv_proj.weight"

    separate = stored_weights(architecture, [f"{layer}.attention.q_proj.weight"])
    assert f"{layer}.attention.q_proj.weight" not in separate
