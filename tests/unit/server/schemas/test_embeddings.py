from __future__ import annotations

import base64
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import InvalidRequestError, PayloadTooLargeError
from rerankd.server.request_parsing import validated
from rerankd.server.schemas.embeddings import (
    EmbeddingRequestBody,
    EmbedRequestBody,
    EmptyTextError,
    SimilarityRequestBody,
    to_base64,
    to_json,
)
from rerankd.settings import load_settings

SETTINGS = load_settings(max_documents=3)
VECTORS = np.array([[0.6, 0.8], [1.0, 0.0]], np.float32)


@pytest.mark.parametrize("value", ["a", ["a"]])
def test_a_text_is_a_list_of_one(value: Any) -> None:
    assert validated(EmbeddingRequestBody, {"input": value}).texts(SETTINGS) == ["a"]
    assert validated(EmbedRequestBody, {"inputs": value}).texts(SETTINGS) == ["a"]


@pytest.mark.parametrize("value", [[1, 2], [[1, 2], [3]]])
def test_token_ids_are_refused_with_a_way_out(value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"^input: token ids are not read.*check_embedding_ctx_length=False"):
        validated(EmbeddingRequestBody, {"input": value})


@pytest.mark.parametrize("value", [None, 3, {"a": 1}, ["a", 3], ["a", None]])
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"^input"):
        validated(EmbeddingRequestBody, {"input": value})


@pytest.mark.parametrize(("value", "name"), [("", "input.0"), ([], "input"), (["a", ""], "input.1")])
def test_an_empty_text_is_named(value: Any, name: str) -> None:
    with pytest.raises(EmptyTextError, match=rf"^{name} is empty\. Send a text\.$"):
        validated(EmbeddingRequestBody, {"input": value}).texts(SETTINGS)


def test_there_are_as_many_texts_as_documents_at_most() -> None:
    with pytest.raises(PayloadTooLargeError, match="4 texts; 3 are allowed"):
        validated(EmbedRequestBody, {"inputs": ["a"] * 4}).texts(SETTINGS)


def test_lengths_other_than_one_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="normalize is false"):
        validated(EmbedRequestBody, {"inputs": "a", "normalize": False}).texts(SETTINGS)


def test_fields_without_effect_are_named_if_they_ask_for_something() -> None:
    body = validated(EmbeddingRequestBody, {"input": "a", "user": "u", "input_type": "query", "task": None, "x": 1})
    assert body.warnings == [
        "user is not supported here and was ignored",
        "input_type is not supported here and was ignored",
    ]
    assert validated(EmbedRequestBody, {"inputs": "a", "prompt_name": "query"}).warnings == [
        "prompt_name is not supported here and was ignored"
    ]
    assert validated(EmbeddingRequestBody, {"input": "a", "encoding_format": None, "dimensions": None}).warnings == []


def test_truncation_in_the_words_of_each_client() -> None:
    body = validated(EmbeddingRequestBody, {"input": "a", "truncate_prompt_tokens": 100})
    assert body.truncation_overrides().max_length == 100
    short = validated(EmbeddingRequestBody, {"input": "a", "truncate_prompt_tokens": 3})
    assert (short.truncation_overrides().max_length, short.warnings) == (
        8,
        ["truncate_prompt_tokens is below 8 and was raised"],
    )
    tei = validated(EmbedRequestBody, {"inputs": "a", "truncation_direction": "Left", "truncate": False})
    overrides = tei.truncation_overrides()
    assert (overrides.truncation_side, overrides.allow_truncation) == ("left", False)


def test_responses() -> None:
    body = validated(EmbeddingRequestBody, {"input": ["a", "b"]})
    content = orjson.loads(orjson.dumps(body.to_response(VECTORS, "small", 7, [])))
    assert content == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.6, 0.8]},
            {"object": "embedding", "index": 1, "embedding": [1.0, 0.0]},
        ],
        "model": "small",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }
    assert body.to_response(VECTORS, "small", 7, ["cut"])["meta"] == {"warnings": ["cut"]}
    tei = validated(EmbedRequestBody, {"inputs": ["a", "b"]})
    assert orjson.loads(orjson.dumps(tei.to_response(VECTORS, "small", 7, []))) == [[0.6, 0.8], [1.0, 0.0]]
    similarity = validated(SimilarityRequestBody, {"inputs": {"source_sentence": "a", "sentences": ["b"]}})
    assert similarity.texts(SETTINGS) == ["a", "b"]
    assert orjson.loads(orjson.dumps(similarity.to_response(VECTORS, "small", 7, []))) == [0.6]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_both_formats_give_back_every_bit(numbers: list[float]) -> None:
    vector = np.array(numbers, np.float32)
    assert np.frombuffer(base64.b64decode(to_base64(vector)), "<f4").tolist() == vector.tolist()
    assert np.array(orjson.loads(orjson.dumps(to_json(vector))), np.float32).tolist() == vector.tolist()
