"""Nothing that a client can send makes the server fail: its own schema, and bodies that no schema allows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.hostile.paths import POST_PATHS

EXAMPLES = 30

SHAPE = ("parameters", "requestBody")

CHECKS: list[Any] = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def api(server_url: str) -> BaseSchema:
    return schemathesis.openapi.from_url(f"{server_url}/openapi.json")


def assert_no_fault(status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
    """No 5xx, but 504 for a request that itself names a time."""
    timed = (isinstance(body, dict) and body.get("timeout") is not None) or "x-request-timeout" in (headers or {})
    assert status < 500 or (status == 504 and timed), status


def operations(api: BaseSchema) -> list[Any]:
    """Every operation of the schema; all of them must be well-formed."""
    listed: list[Any] = list(api.get_all_operations())
    return [each.ok() for each in listed]


def test_schema_names_every_path_of_the_contract(api: BaseSchema) -> None:
    paths = {(each.method.upper(), each.path) for each in operations(api)}
    assert {("POST", path) for path in POST_PATHS} <= paths
    assert {("GET", path) for path in ("/info", "/v1/models", "/v1/cluster/auth", "/health", "/ping")} <= paths


def test_no_operation_fails_and_every_answer_is_as_described(api: BaseSchema) -> None:
    """Operations with the same parameters and body have one handler, and share the examples."""
    kinds = [json.dumps([one.definition.raw.get(key) for key in SHAPE], sort_keys=True) for one in operations(api)]
    for operation, kind in zip(operations(api), kinds, strict=True):

        @settings(bounded, max_examples=max(10, EXAMPLES // kinds.count(kind)))
        @given(case=operation.as_strategy())
        def holds(case: Any) -> None:
            response = case.call(timeout=60)
            assert_no_fault(response.status_code, case.body, case.headers)
            case.validate_response(response, checks=CHECKS)

        holds()


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=20)
)

values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)

texts = st.text(max_size=30) | st.builds(lambda text: {"text": text}, scalars)

FIELDS = [
    "model",
    "top_n",
    "top_k",
    "return_documents",
    "raw_scores",
    "use_activation",
    "truncate",
    "truncation_direction",
    "return_text",
    "max_tokens_per_doc",
    "max_chunks_per_doc",
    "overlap_tokens",
    "truncate_prompt_tokens",
    "truncation_side",
    "max_tokens_per_query",
    "truncation",
    "rank_fields",
    "relevant_spans",
    "kwargs",
    "priority",
    "max_length",
    "activation",
    "threshold",
    "timeout",
    "cache",
]

bodies = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("query", "queries", "text_1"), texts | values),
        **{name: st.lists(texts, max_size=4) | values for name in ("documents", "texts", "text_2")},
        **dict.fromkeys(FIELDS, values),
    },
)


@pytest.mark.parametrize("path", POST_PATHS)
def test_no_value_fails(path: str, client: httpx.Client) -> None:
    """Every known field, each with any JSON value, NUL and lone surrogates among the characters."""

    @settings(bounded, max_examples=60)
    @given(bodies)
    def holds(body: dict[str, Any]) -> None:
        response = client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert_no_fault(response.status_code, body)
        assert response.headers["content-type"].startswith("application/json")
        assert response.json() is not None

    holds()


@pytest.mark.parametrize("path", POST_PATHS)
def test_no_bytes_fail(path: str, client: httpx.Client) -> None:
    @bounded
    @given(st.binary(max_size=200))
    def holds(content: bytes) -> None:
        assert_refused_or_tei(client.post(path, content=content))

    holds()


def assert_refused_or_tei(response: httpx.Response) -> None:
    assert response.status_code in (400, 415, 422), response.text
    assert "error" in response.json() or list(response.json()) == ["detail"]  # Voyage's


RIGHT = {"query": "a", "documents": ["b"], "texts": ["b"]}

DEEP = [
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000,
    b'{"query": "a", "documents": ' + b"[" * 100_000,
    b'{"query": "a", "documents": ["b"], "x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"query": ' + b'{"text": ' * 5000 + b'"a"' + b"}" * 5000 + b', "documents": ["b"]}',
]


@pytest.mark.parametrize("position", range(len(DEEP)))
@pytest.mark.parametrize("path", POST_PATHS)
def test_deep_json_is_refused(path: str, position: int, client: httpx.Client) -> None:
    response = client.post(path, content=DEEP[position], headers={"Content-Type": "application/json"})
    assert_refused_or_tei(response)


@pytest.mark.parametrize(
    "content",
    [
        b'{"query": "a", "documents": ["b"], "top_n": 1e400}',
        b'{"query": "a", "documents": ["b"], "top_n": NaN}',
        b'{"query": "a", "documents": ["b"], "top_n": -Infinity}',
        b'{"query": "a", "documents": ["b"], "top_n": ' + b"9" * 5000 + b"}",
        b'{"query": "a", "documents": ["b"], "query": null, "documents": 7}',
        b'{"query": "a\\u0000", "documents": ["\\u0000"], "texts": ["\\u0000"], "queries": "\\u0000"}',
        rb'{"query": "\ud800", "documents": ["\ud800"], "texts": ["\udfff\ud800"], "queries": "\ud800"}',
        rb'{"query": "a", "documents": ["b"], "model": "\ud800", "\udfff": 1}',
        '\ufeff{"query": "a", "documents": ["b"]}'.encode(),
        '{"query": "a", "documents": ["b"]}'.encode("utf-16"),
        json.dumps({"query": "a" * 300_000, "documents": ["b"] * 50, "texts": ["b"], "queries": "a"}).encode(),
        json.dumps({"query": "a", "documents": [""] * 3000, "texts": [""] * 3000, "queries": "a"}).encode(),
    ],
    ids=lambda content: repr(content[:60]),
)
def test_odd_json_does_not_fail(content: bytes, client: httpx.Client) -> None:
    for path in POST_PATHS:
        response = client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert response.status_code < 500, (path, response.text)
        assert response.json() is not None


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/json; charset=utf-16",
        "application/json; charset=nonsense",
        "*/*",
        "",
    ],
)
def test_wrong_content_types_do_not_fail(content_type: str, client: httpx.Client) -> None:
    for path in POST_PATHS:
        response = client.post(path, content=json.dumps(RIGHT), headers={"Content-Type": content_type})
        assert response.status_code in (200, 400, 415), (path, response.text)
        assert response.json() is not None


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Encoding": "gzip"},
        {"Accept": "text/html"},
        {"Accept-Encoding": "zstd;q=x"},
        {"Host": "a b"},
        {"X-Request-ID": "x" * 5000},
        {"X-Request-ID": "é\x01"},
        {"traceparent": "00-zz"},
        {"X-Forwarded-For": "not an address"},
        {"Retry-After": "-1"},
        {"Expect": "100-continue"},
    ],
    ids=str,
)
def test_odd_headers_do_not_fail(headers: dict[str, str], client: httpx.Client) -> None:
    encoded = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    response = client.post("/v1/rerank", content=json.dumps(RIGHT), headers=encoded)
    assert response.status_code < 500, response.text
