from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rerankd.errors import UnsupportedModelError
from rerankd.models.families import read_architecture
from rerankd.models.families.deberta import DebertaArchitecture, log_buckets

BASE: dict[str, Any] = {
    "model_type": "deberta-v2",
    "architectures": ["DebertaV2ForSequenceClassification"],
    "id2label": {"0": "LABEL_0"},
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "vocab_size": 128100,
    "max_position_embeddings": 512,
    "max_relative_positions": -1,
    "position_buckets": 256,
    "relative_attention": True,
    "position_biased_input": False,
    "pos_att_type": ["p2c", "c2p"],
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "type_vocab_size": 0,
    "layer_norm_eps": 1e-7,
    "pad_token_id": 0,
}


def test_the_reference_model() -> None:
    architecture = read_architecture(BASE, "mxbai")
    assert isinstance(architecture, DebertaArchitecture)
    assert architecture.parameters == 184_422_913
    assert (architecture.max_length, architecture.span, architecture.segments) == (512, 256, False)


def test_the_attention_may_be_written_as_one_text() -> None:
    assert read_architecture(BASE | {"pos_att_type": "p2c|c2p"}, "m") == read_architecture(BASE, "m")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"id2label": {"0": "a", "1": "b"}}, "m: the head has 2 labels; a reranker has one."),
        ({"conv_kernel_size": 3}, "m: conv_kernel_size 3 is not supported. It must be 0."),
        ({"type_vocab_size": 2}, "type_vocab_size 2 is not supported. It must be 0."),
        ({"position_biased_input": True}, "position_biased_input True is not supported. It must be False."),
        ({"relative_attention": False}, "relative_attention False is not supported"),
        ({"share_att_key": False}, "share_att_key False is not supported"),
        ({"norm_rel_ebd": "none"}, "norm_rel_ebd 'none' is not supported. It must be 'layer_norm'."),
        ({"pos_att_type": ["c2p"]}, r"pos_att_type \['c2p'\] is not supported. It must be \['p2c', 'c2p'\]."),
        ({"pos_att_type": None}, "pos_att_type None is not supported"),
        ({"pooler_hidden_act": "tanh"}, "pooler_hidden_act 'tanh' is not supported"),
        ({"embedding_size": 128}, "embedding_size 128 is not supported. It must be 768."),
        ({"position_buckets": 2}, "position_buckets of config.json is 2, for relative positions up to 512"),
        ({"position_buckets": 1022}, "position_buckets of config.json is 1022, for relative positions up to 512"),
        ({"max_position_embeddings": None}, "config.json has no valid value for"),
        ({"num_attention_heads": 7}, "hidden_size 768 is not a multiple of num_attention_heads 7"),
        ({"architectures": ["DebertaV2Model"]}, "DebertaV2Model: this is an encoder without a ranking head"),
    ],
)
def test_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UnsupportedModelError, match=sentence):
        read_architecture(BASE | change, "m")


@pytest.mark.parametrize(
    "option", ["relative_attention", "position_biased_input", "pos_att_type", "norm_rel_ebd", "share_att_key"]
)
def test_an_option_that_is_missing_has_the_value_of_transformers(option: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"{option} .* is not supported"):
        read_architecture({name: value for name, value in BASE.items() if name != option}, "m")


@pytest.mark.parametrize(("buckets", "longest"), [(256, 512), (32, 128), (16, 512), (8, 64), (256, 2048)])
def test_buckets_are_those_of_transformers(buckets: int, longest: int) -> None:
    torch = pytest.importorskip("torch")
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    distance = np.arange(-longest - 50, longest + 51)
    expected = make_log_bucket_position(torch.from_numpy(distance), buckets, longest).long().numpy()
    np.testing.assert_array_equal(log_buckets(distance, buckets, longest), expected)


def test_rows_of_distances() -> None:
    architecture = read_architecture(BASE | {"position_buckets": -1, "max_position_embeddings": 4}, "m")
    assert isinstance(architecture, DebertaArchitecture)
    assert architecture.relative_rows(3).tolist() == [2, 3, 4, 5, 6]
    assert architecture.relative_rows(6).tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 7, 7]
