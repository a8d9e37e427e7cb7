from __future__ import annotations

from typing import Any

import pytest

from rerankd.errors import UnsupportedModelError
from rerankd.models.families import read_architecture

V2_M3: dict[str, Any] = {
    "model_type": "xlm-roberta",
    "architectures": ["XLMRobertaForSequenceClassification"],
    "id2label": {"0": "LABEL_0"},
    "num_hidden_layers": 24,
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "vocab_size": 250002,
    "max_position_embeddings": 8194,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
}


def test_the_reference_model() -> None:
    architecture = read_architecture(V2_M3, "v2-m3")
    assert architecture.parameters == 567_755_777
    assert architecture.max_length == 8192
    assert (architecture.segments, architecture.position_offset) == (False, 1)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"model_type": "opt"},
            r"m: model type 'opt' is not supported .XLMRobertaForSeq.*Use a cross-encoder of a supported family",
        ),
        ({"model_type": None}, "is not supported"),
        ({"id2label": {"0": "a", "1": "b"}}, "m: the head has 2 labels; a reranker has one."),
        ({"id2label": None}, "the head has 2 labels"),
        (
            {"architectures": ["XLMRobertaModel"]},
            "m: XLMRobertaModel: this is an encoder without a ranking head .a bi-enc",
        ),
        ({"architectures": None}, "no architecture named: this is an encoder without a ranking head"),
        ({"hidden_act": "relu"}, "hidden_act 'relu' is not supported. It must be 'gelu'."),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key' is not supported"),
        ({"hidden_size": "wide"}, "config.json has no valid value for"),
        ({"vocab_size": None}, "config.json has no valid value for"),
        ({"num_attention_heads": 7}, "hidden_size 1024 is not a multiple of num_attention_heads 7"),
    ],
)
def test_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UnsupportedModelError, match=sentence):
        read_architecture(V2_M3 | change, "m")
