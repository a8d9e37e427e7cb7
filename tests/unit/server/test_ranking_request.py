from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
from starlette.requests import Request

from rerankd.errors import InvalidRequestError
from rerankd.server.auth.keys import new_key
from rerankd.server.context import RequestContext, current_request
from rerankd.server.ranking_request import read_origin, read_timeout, shortest, to_rerank_request
from rerankd.server.request_parsing import validated
from rerankd.server.schemas.rerank import RerankRequestBody
from rerankd.server.schemas.score import ScoreRequestBody
from rerankd.server.schemas.search import SearchRequestBody
from rerankd.server.schemas.tei import PredictRequestBody, TeiRequestBody
from rerankd.settings import load_settings
from rerankd.types import Document, Fusion, RerankRequest, TruncationOverrides

SETTINGS = load_settings(request_timeout=30, fusion="rrf", fusion_weight=2.0)


@pytest.fixture
def context() -> Iterator[RequestContext]:
    context = RequestContext("r1")
    token = current_request.set(context)
    yield context
    current_request.reset(token)


def http_request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw, "client": ("10.0.0.9", 1)})


def test_every_dialect_becomes_the_same_request() -> None:
    union = {"query": "q", "documents": ["a", "b"], "top_n": 1, "raw_scores": True, "max_length": 64, "cache": False}
    tei = {"query": "q", "texts": ["a", "b"], "top_n": 1, "raw_scores": True, "max_length": 64, "cache": False}
    expected = RerankRequest(
        query="q",
        documents=[Document("a"), Document("b")],
        top_n=1,
        activation="none",
        truncation=TruncationOverrides(max_length=64),
        cache=False,
    )
    assert to_rerank_request(validated(TeiRequestBody, tei), SETTINGS) == expected
    request = to_rerank_request(validated(RerankRequestBody, union), SETTINGS)
    assert request == replace(expected, fusion=Fusion("rrf", 2.0))


@pytest.mark.parametrize(
    ("model", "content"),
    [
        (ScoreRequestBody, {"text_1": "q", "text_2": ["a"]}),
        (PredictRequestBody, {"inputs": [["q", "a"]]}),
    ],
)
def test_bodies_of_pairs_give_a_template_without_documents(model: Any, content: dict[str, Any]) -> None:
    assert to_rerank_request(validated(model, content), SETTINGS) == RerankRequest("", [])


def test_a_question_is_fused_as_the_settings_say() -> None:
    body = validated(SearchRequestBody, {"query": "q"})
    assert to_rerank_request(body, SETTINGS) == RerankRequest("q", [], fusion=Fusion("rrf", 2.0))
    body = validated(SearchRequestBody, {"query": "q", "fusion": "weighted"})
    assert to_rerank_request(body, SETTINGS).fusion == Fusion("weighted", 0.5)  # the weight belongs to another method


def test_tenant_request_id_and_units_come_from_the_http_request(context: RequestContext) -> None:
    context.key = new_key("team")[1]
    http = http_request(x_rerankd_user=" u ", x_rerankd_session="s", x_request_timeout="5")
    body = validated(RerankRequestBody, {"query": "q", "documents": ["a"], "timeout": 9})
    request = to_rerank_request(body, SETTINGS, read_origin(http, b"{}", SETTINGS))
    assert (request.tenant, request.fairness_key) == (context.key.id, context.key.id)
    assert (request.request_id, request.source, request.timeout) == ("r1", "http", 5)
    assert (request.user, request.session) == ("u", "s")
    assert request.retry_key == read_origin(http, b"{}", SETTINGS).retry_key
    assert request.retry_key != read_origin(http, b"{ }", SETTINGS).retry_key


def test_clients_without_a_key_share_by_address(context: RequestContext) -> None:
    origin = read_origin(http_request(), b"", SETTINGS)
    assert (origin.tenant, origin.fairness_key) == ("", "10.0.0.9")


def test_a_job_has_no_origin() -> None:
    body = validated(RerankRequestBody, {"query": "q", "documents": ["a"], "timeout": 9})
    request, usual = to_rerank_request(body, load_settings()), RerankRequest("q", [Document("a")])
    assert {field.name: getattr(request, field.name) for field in fields(request)} == {
        field.name: getattr(usual, field.name) for field in fields(usual)
    }


@pytest.mark.parametrize("header", ["soon", "-1", "0", "nan", "inf"])
def test_a_timeout_is_a_positive_number(header: str) -> None:
    with pytest.raises(InvalidRequestError, match="X-Request-Timeout"):
        read_timeout(http_request(x_request_timeout=header))


def test_the_shortest_time_limit_counts() -> None:
    assert shortest(None, None) is None
    assert shortest(7.0, 5.0) == 5
    assert shortest(None, 30) == 30
    assert read_timeout(http_request()) is None
    assert read_timeout(http_request(x_request_timeout="50")) == 50


def test_a_unit_is_a_short_printable_id(context: RequestContext) -> None:
    for value in ("u" * 257, "\x07"):
        with pytest.raises(InvalidRequestError, match="X-Rerankd-User"):
            read_origin(http_request(x_rerankd_user=value), b"", SETTINGS)


@pytest.mark.parametrize(
    ("model", "content"),
    [
        (RerankRequestBody, {"query": "q", "documents": ["d"]}),
        (ScoreRequestBody, {"text_1": "q", "text_2": "d"}),
        (TeiRequestBody, {"query": "q", "texts": ["d"]}),
        (PredictRequestBody, {"inputs": ["q", "d"]}),
        (SearchRequestBody, {"query": "q"}),
    ],
)
def test_every_body_has_an_instruction(model: type[RerankRequestBody], content: dict[str, Any]) -> None:
    def instruction(text: str | None) -> str | None:
        body = validated(model, content | {"instruction": text})
        return to_rerank_request(body, SETTINGS).truncation.instruction

    assert [instruction(text) for text in ("Retrieve.", "", "  ", None)] == ["Retrieve.", None, None, None]


@pytest.mark.parametrize(
    ("asked", "priority", "warnings"),
    [
        (None, None, []),
        (0, 0, []),
        (999, 999, []),
        (-7, 0, ["priority -7 is not within 0 to 999; 0 was used"]),
        (2**63 - 1, 999, [f"priority {2**63 - 1} is not within 0 to 999; 999 was used"]),
    ],
)
def test_a_priority_is_one_of_ours_and_its_bound_that_of_the_key(
    context: RequestContext, asked: int | None, priority: int | None, warnings: list[str]
) -> None:
    context.key = new_key("team", best_priority=20)[1]
    origin = read_origin(http_request(), b"{}", SETTINGS)
    for model, content in (
        (RerankRequestBody, {"query": "q", "documents": ["a"]}),
        (TeiRequestBody, {"query": "q", "texts": ["a"]}),
        (ScoreRequestBody, {"text_1": "q", "text_2": "a"}),
        (PredictRequestBody, {"inputs": [["q", "a"]]}),
        (SearchRequestBody, {"query": "q"}),
    ):
        body: Any = validated(model, content | {"priority": asked})
        request = to_rerank_request(body, SETTINGS, origin)
        assert (request.priority, request.best_priority) == (priority, 20)
        assert body.warnings == warnings


@pytest.mark.parametrize("priority", ["soon", 1.5, [1]])
def test_what_is_no_number_is_no_priority(priority: Any) -> None:
    with pytest.raises(InvalidRequestError, match="priority: Input should be a valid integer"):
        validated(RerankRequestBody, {"query": "q", "documents": ["a"], "priority": priority})
