"""Nothing that a client can send makes the server fail: its own schema, and bodies that no schema allows."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.schemas import BaseSchema

from tests.integration.serving import Served

EXAMPLES = 30
SHAPE = ("parameters", "requestBody")
RERANK_PATHS = ["/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking", "/infinity/rerank"]
POST_PATHS = [*RERANK_PATHS, "/voyage/v1/rerank", "/", "/invocations", "/score", "/v1/score"]

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


@pytest.fixture(autouse=True)
def still_well(server: Served) -> Iterator[None]:
    """After every test the server answers, and has written no traceback."""
    before = server.log.count("Traceback")
    yield
    assert server.process.poll() is None
    response = httpx.post(f"{server.url}/rerank", json={"query": "a", "documents": ["b"]}, trust_env=False)
    assert response.status_code == 200
    assert server.log.count("Traceback") == before, server.log[-4000:]


def assert_refused(response: httpx.Response, *statuses: int) -> None:
    assert response.status_code in statuses, response.text[:500]
    assert response.json()["detail"] == response.json()["message"]


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


def test_no_operation_fails(api: BaseSchema) -> None:
    """Operations with the same parameters and body have one handler, and share the examples."""
    kinds = [json.dumps([one.definition.raw.get(key) for key in SHAPE], sort_keys=True) for one in operations(api)]
    for operation, kind in zip(operations(api), kinds, strict=True):

        @settings(bounded, max_examples=max(10, EXAMPLES // kinds.count(kind)))
        @given(case=operation.as_strategy())
        def holds(case: Any) -> None:
            response = case.call(timeout=60)
            assert_no_fault(response.status_code, case.body, case.headers)

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
def test_no_value_fails(path: str, wire: httpx.Client) -> None:
    """Every known field, each with any JSON value, NUL and lone surrogates among the characters."""

    @settings(bounded, max_examples=60)
    @given(bodies)
    def holds(body: dict[str, Any]) -> None:
        response = wire.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert_no_fault(response.status_code, body)
        assert response.headers["content-type"].startswith("application/json")
        assert response.json() is not None

    holds()


@pytest.mark.parametrize("path", POST_PATHS)
def test_no_bytes_fail(path: str, wire: httpx.Client) -> None:
    @bounded
    @given(st.binary(max_size=200))
    def holds(content: bytes) -> None:
        assert_refused_or_tei(wire.post(path, content=content))

    holds()


def assert_refused_or_tei(response: httpx.Response) -> None:
    assert response.status_code in (400, 415, 422), response.text
    assert "error" in response.json()


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
def test_deep_json_is_refused(path: str, position: int, wire: httpx.Client) -> None:
    response = wire.post(path, content=DEEP[position], headers={"Content-Type": "application/json"})
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
def test_odd_json_does_not_fail(content: bytes, wire: httpx.Client) -> None:
    for path in POST_PATHS:
        response = wire.post(path, content=content, headers={"Content-Type": "application/json"})
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
def test_wrong_content_types_do_not_fail(content_type: str, wire: httpx.Client) -> None:
    for path in POST_PATHS:
        response = wire.post(path, content=json.dumps(RIGHT), headers={"Content-Type": content_type})
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
def test_odd_headers_do_not_fail(headers: dict[str, str], wire: httpx.Client) -> None:
    encoded = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    response = wire.post("/v1/rerank", content=json.dumps(RIGHT), headers=encoded)
    assert response.status_code < 500, response.text


def raw(url: str, head: str, rest: bytes = b"") -> tuple[int, bytes]:
    """Status and body of the first answer to a request as it is written."""
    target = httpx.URL(url)
    with socket.create_connection((target.host, target.port or 80), timeout=20) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + rest)
        with http.client.HTTPResponse(connection) as response:
            response.begin()
            return response.status, response.read()


HEAD = "POST /v1/rerank HTTP/1.1\nHost: rerankd\nContent-Type: application/json\n"


@pytest.mark.parametrize("length", [33_000_000, 10**12, 10**18])
def test_a_huge_length_is_refused_before_the_body(length: int, server_url: str) -> None:
    status, body = raw(server_url, f"{HEAD}Content-Length: {length}\n\n")
    assert status == 413
    assert json.loads(body)["detail"]


@pytest.mark.parametrize("length", ["1" * 40, "-1", "ten", "1, 2", "0x10", "1_0"])
def test_a_length_that_is_no_length_is_refused(length: str, server_url: str) -> None:
    status, _ = raw(server_url, f"{HEAD}Content-Length: {length}\n\n", b'{"query')
    assert status in (400, 413)


def test_a_broken_chunk_is_refused(server_url: str) -> None:
    status, _ = raw(server_url, f"{HEAD}Transfer-Encoding: chunked\n\n", b"zz\r\nabc\r\n0\r\n\r\n")
    assert status == 400


def test_a_client_that_goes_away_harms_nobody(server_url: str) -> None:
    target = httpx.URL(server_url)
    for _ in range(5):
        with socket.create_connection((target.host, target.port or 80)) as connection:
            connection.sendall(f"{HEAD}Content-Length: 1000\n\n".replace("\n", "\r\n").encode() + b'{"query": "a"')


@pytest.mark.parametrize("path", POST_PATHS)
def test_a_body_over_the_limit_is_413(path: str, wire: httpx.Client) -> None:
    content = b'{"query": "a", "documents": ["' + b"x" * 33_000_000 + b'"]}'
    assert_refused(wire.post(path, content=content, headers={"Content-Type": "application/json"}), 413)


@pytest.mark.parametrize("path", ["/rerank", "/", "/score", "/voyage/v1/rerank"])
def test_a_chunked_body_over_the_limit_is_413(path: str, wire: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"query": "a", "documents": ["'
        for _ in range(33):
            yield b"x" * 2**20
        yield b'"]}'

    assert_refused(wire.post(path, content=chunks(), headers={"Content-Type": "application/json"}), 413)


def test_a_body_under_the_limit_is_read(wire: httpx.Client) -> None:
    content = b'{"query": "a", "documents": ["b"], "unknown": "' + b"x" * 31_000_000 + b'"}'
    assert wire.post("/rerank", content=content).status_code == 200
