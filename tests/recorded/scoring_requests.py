"""Requests that rank or score, in every dialect and on every path, and those that are refused."""

from __future__ import annotations

import json
from typing import Any

from tests.recorded.caller import SLOW, TEAM, Caller
from tests.recorded.inputs import (
    CHINESE,
    DOCUMENTS,
    EMOJI,
    ENGLISH,
    LONG,
    NAMED,
    PAIRS,
    TRADITIONAL,
)

UNION = ["/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking"]

OTHERS = ["/infinity/rerank", "/infinity/v1/rerank", "/voyage/rerank", "/voyage/v1/rerank"]

TEI = ["/", "/invocations", "/rerank"]


def rank(call: Caller) -> None:
    """Rank in every dialect, on every path, with every field."""
    body: dict[str, Any] = {"query": CHINESE, "documents": DOCUMENTS[:5]}
    for path in UNION + OTHERS:
        call(f"rank {path}", "POST", path, json=body)
        call(f"rank texts {path}", "POST", path, json=body | {"return_documents": True, "top_n": 2, "model": "mini"})
    for path in TEI:
        call(f"tei {path}", "POST", path, json={"query": CHINESE, "texts": DOCUMENTS[:5]})
        call(
            f"tei texts {path}",
            "POST",
            path,
            json={"query": CHINESE, "texts": DOCUMENTS[:3], "return_text": True, "top_n": 2},
        )
    call("tei raw", "POST", "/", json={"query": ENGLISH, "texts": DOCUMENTS, "raw_scores": True, "truncate": True})
    call(
        "tei left",
        "POST",
        "/",
        json={"query": EMOJI, "texts": [LONG], "truncation_direction": "left", "max_length": 64},
    )
    call("tei refuses to cut", "POST", "/", json={"query": EMOJI, "texts": [LONG * 3], "truncate": False})
    call("tei documents", "POST", "/", json=body)
    variants: dict[str, dict[str, Any]] = {
        "rules": {"documents": NAMED, "query": EMOJI, "explain": True},
        "rich": {"documents": NAMED, "return_documents": True, "explain": True, "query": ENGLISH},
        "all": {"documents": DOCUMENTS, "query": TRADITIONAL},
        "raw": {"raw_scores": True},
        "no activation": {"use_activation": False},
        "top_k": {"top_k": 1},
        "top_n of 0": {"top_n": 0},
        "threshold": {"documents": DOCUMENTS, "threshold": 0.5},
        "weighted": {"documents": NAMED, "fusion": "weighted", "explain": True},
        "rrf": {"documents": DOCUMENTS, "fusion": "rrf", "fusion_weight": 3, "explain": True},
        "chunks": {
            "documents": [LONG],
            "max_length": 64,
            "long_documents": "chunk",
            "overlap_tokens": 8,
            "explain": True,
        },
        "max chunks": {"documents": [LONG], "max_chunks_per_doc": 3, "explain": True},
        "document tokens": {"documents": [LONG], "max_tokens_per_doc": 20, "max_tokens_per_query": 5, "explain": True},
        "prompt tokens": {"truncate_prompt_tokens": 2},
        "left": {"documents": [LONG], "truncation_side": "left", "max_length": 32, "explain": True},
        "longest first": {"query": CHINESE * 20, "truncation": "longest_first", "max_length": 32, "explain": True},
        "refuses to cut": {"documents": [LONG * 3], "truncation": False},
        "long max_length": {"max_length": 100_000},
        "unknown model": {"model": "rerank-multilingual-v3.0"},
        "tiny": {"model": "tiny", "explain": True},
        "uncached": {"cache": False, "explain": True},
        "cached": {"explain": True},
        "fields": {"documents": [{"title": "Panda", "body": "bamboo"}], "rank_fields": ["title", "body"]},
        "cohere content": {
            "documents": [{"content": [{"type": "text", "text": "bamboo"}]}],
            "query": {"text": "panda?"},
        },
        "unknown fields": {"documents": ["bamboo"], "wish": 1, "user": "x"},
    }
    for name, fields in variants.items():
        call(f"rank {name}", "POST", "/v1/rerank", json=body | fields)


def score(call: Caller) -> None:
    """Score pairs in the ways of vLLM and TEI."""
    queries, documents = map(list, zip(*PAIRS, strict=True))
    for path in ("/score", "/v1/score"):
        call(f"score {path}", "POST", path, json={"text_1": CHINESE, "text_2": DOCUMENTS[:4]})
    call("score pairs", "POST", "/score", json={"text_1": queries, "text_2": documents, "use_activation": False})
    call("score names", "POST", "/score", json={"queries": [CHINESE], "documents": DOCUMENTS[:2], "model": "tiny"})
    call("score data", "POST", "/score", json={"data_1": CHINESE, "data_2": "竹子", "truncate_prompt_tokens": 16})
    call("score items", "POST", "/score", json={"queries": CHINESE, "items": ["竹子", "汽车"]})
    call("predict", "POST", "/predict", json={"inputs": PAIRS})
    call("predict raw", "POST", "/predict", json={"inputs": PAIRS[:2], "raw_scores": True})


def refuse(call: Caller) -> None:
    """Send what cannot be answered: each kind of refusal, on a path of each dialect."""
    good: dict[str, Any] = {"query": CHINESE, "documents": ["竹子"]}
    wrong: dict[str, dict[str, Any]] = {
        "nothing": {},
        "no documents": {"query": CHINESE},
        "empty documents": {"query": CHINESE, "documents": []},
        "empty query": {"query": "", "documents": ["a"]},
        "number": {"query": CHINESE, "documents": [1]},
        "top_n": good | {"top_n": "many"},
        "threshold": good | {"threshold": 2},
        "too many": {"query": CHINESE, "documents": ["a"] * 21},
        "deep": good | {"x": json.loads("[" * 40 + "]" * 40)},
        "late": good | {"timeout": 1e-9, "cache": False},
    }
    for name, body in wrong.items():
        for path in ("/v1/rerank", "/infinity/rerank", "/voyage/rerank"):
            call(f"refused {name} {path}", "POST", path, json=body)
    others: dict[str, tuple[str, dict[str, Any]]] = {
        "tei empty texts": ("/rerank", {"query": CHINESE, "texts": []}),
        "tei texts of numbers": ("/rerank", {"query": CHINESE, "texts": [1]}),
        "tei too many texts": ("/rerank", {"query": CHINESE, "texts": ["a"] * 21}),
        "tei late": ("/rerank", {"query": CHINESE, "texts": ["竹子"], "timeout": 1e-9, "cache": False}),
        "score one side": ("/score", {"text_1": "a"}),
        "score unmatched": ("/score", {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}),
        "predict triple": ("/predict", {"inputs": [["a", "b", "c"]]}),
        "predict empty": ("/predict", {"inputs": []}),
    }
    for name, (path, body) in others.items():
        call(f"refused {name}", "POST", path, json=body)
    contents = {
        "nothing": b"",
        "half": b'{"query": "a"',
        "list": b"[]",
        "not UTF-8": b'{"query": "\xff", "documents": ["b"]}',
    }
    for path in ("/v1/rerank", "/", "/score", "/predict", "/v1/jobs", "/v1/feedback", "/v1/search"):
        for name, content in contents.items():
            headers = {"content-type": "application/json"}
            call(f"refused body {name} {path}", "POST", path, content=content, headers=headers)
    call("refused large", "POST", "/v1/rerank", json={"query": "a", "documents": ["x" * 300_000]})
    call("refused large tei", "POST", "/", json={"query": "a", "texts": ["x" * 300_000]})
    call("refused path", "GET", "/v1/nope")
    call("refused method", "GET", "/v1/rerank")
    call("refused tei method", "DELETE", "/predict")
    call("refused timeout header", "POST", "/v1/rerank", json=good, headers={"x-request-timeout": "soon"})
    call("refused no key", "POST", "/v1/rerank", key=None, json=good)
    call("refused wrong key", "POST", "/v1/rerank", key="rr-wrong", json=good)
    call("refused wrong key tei", "POST", "/", key="rr-wrong", json={"query": "a", "texts": ["b"]})
    call("key in header", "POST", "/v1/rerank", key=None, json=good, headers={"api-key": TEAM})
    call("slow first", "POST", "/v1/rerank", key=SLOW, json=good)
    call("slow second", "POST", "/v1/rerank", key=SLOW, json=good)
    call("slow second tei", "POST", "/", key=SLOW, json={"query": "a", "texts": ["b"]})
