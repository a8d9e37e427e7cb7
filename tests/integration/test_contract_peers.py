"""Requests that the peers' own clients and tests send, beyond the bodies of the other contract tests."""

from __future__ import annotations

import gzip
import http.client
import json
from typing import Any

import httpx
import pytest

from rerankd import Reranker
from tests.integration.contract import (
    DOCUMENTS,
    QUERY,
    SCORE_PATHS,
    TEI_PATHS,
    UNION_PATHS,
    assert_json,
    assert_scores,
    assert_tei,
    assert_tei_error,
    assert_union,
    assert_union_error,
    by_index,
    tei_body,
    union_body,
)
from tests.integration.third_party_clients import package

LONG = "panda " * 3000
CUT = "of 2 pairs of query and document were cut"


@pytest.mark.parametrize(
    "path",
    ["/v1/v1/rerank", "/v1/v2/rerank", "/v2/v1/rerank", "/v1/rerank/", "/rerank/", "//v1/rerank", "/v1//rerank"],
)
def test_a_base_url_with_a_slash_or_a_version_too_many(path: str, client: httpx.Client, scores: list[float]) -> None:
    url = str(client.base_url).rstrip("/") + path
    results = assert_union(client.post(url, json=union_body()), kept=len(DOCUMENTS))
    assert_scores(by_index(results), scores)


def test_so_with_the_other_dialects(client: httpx.Client) -> None:
    base = str(client.base_url).rstrip("/")
    assert client.post(f"{base}/v1/v1/score", json={"text_1": "a", "text_2": "b"}).json()["object"] == "list"
    assert "data" in client.post(f"{base}/voyage//v1/rerank/", json=union_body()).json()
    assert client.post(f"{base}/infinity/v1/v1/rerank", json=union_body()).json()["object"] == "rerank"
    assert_tei(client.post(f"{base}/invocations/", json=tei_body()))


@pytest.mark.parametrize("path", ["/v1/rerank/v1/rerank", "/v1/rerank/rerank", "/api/v1/rerank"])
def test_another_path_names_the_right_one(path: str, client: httpx.Client) -> None:
    assert "Use /v1/rerank" in assert_union_error(client.post(path, json=union_body()), 404)["detail"]


VOYAGE = ["/voyage/rerank", "/voyage/v1/rerank"]


@pytest.mark.parametrize("path", VOYAGE)
@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"{}", b'{"query": "q", "documents": []}', b'{"texts": 1}', b"\xff", b""]
)
def test_errors_of_voyage_hold_the_detail_only(path: str, content: bytes, client: httpx.Client) -> None:
    response = client.post(path, content=content)
    assert response.status_code == 400
    assert list(response.json()) == ["detail"]
    assert isinstance(response.json()["detail"], str)


def test_so_do_those_from_before_the_body_is_read(client: httpx.Client, guarded: httpx.Client) -> None:
    large = {"query": QUERY, "documents": ["x" * 33_000_000]}
    for response, status in (
        (guarded.post(VOYAGE[1], json=union_body()), 401),
        (client.get(VOYAGE[1]), 405),
        (client.post("/voyage/v1/nothing", json={}), 404),
        (client.post(VOYAGE[1], json=large), 413),
        (client.post(VOYAGE[1], content=b"{}", headers={"content-type": "text/plain"}), 415),
    ):
        assert response.status_code == status
        assert list(response.json()) == ["detail"]


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
@pytest.mark.parametrize("rank_fields", [["title", "text"], ["text"], ["title"], None])
def test_objects_come_back_as_they_were_sent(path: str, rank_fields: list[str] | None, client: httpx.Client) -> None:
    sent: list[Any] = [
        {"text": "Pears are a fruit.", "title": "Pears", "year": 1999},
        {"text": "", "title": "Paris", "nested": {"a": [1, None]}},
    ]
    body = union_body(documents=sent, rank_fields=rank_fields, return_documents=True)
    for result in client.post(path, json=body).json()["results"]:
        assert result["document"] == sent[result["index"]]
    for path, key in (("/infinity/rerank", "results"), ("/voyage/v1/rerank", "data")):  # these have strings there
        for result in client.post(path, json=body).json()[key]:
            assert result["document"] == sent[result["index"]]["text"]


def test_models_that_are_not_there(client: httpx.Client) -> None:
    for path in ("/v1/models/no-such-model", "/models/no-such-model", "/v1/models/org/name"):
        error = assert_union_error(client.get(path), 404)
        assert error["error"]["code"] == "model_not_found"
        assert "mini" in error["detail"]


def test_models_where_clients_look_for_them(client: httpx.Client) -> None:
    listed = assert_json(client.get("/v1/models"))
    assert assert_json(client.get("/models")) == assert_json(client.get("/v1/models/")) == listed
    assert assert_json(client.get("/models/mini"))["id"] == "mini"
    for path in ("/infinity/models", "/infinity/v1/models"):
        [card] = assert_json(client.get(path))["data"]
        assert card["id"] == "mini"
        assert set(card["stats"]) == {"queue_fraction", "queue_absolute", "results_pending", "batch_size"}
        assert set(card) >= {"object", "owned_by", "created", "backend", "capabilities"}


def test_health_of_infinity_needs_no_key(client: httpx.Client, guarded: httpx.Client) -> None:
    for path in ("/infinity/health", "/infinity/v1/health"):
        for http_client in (client, guarded):
            assert assert_json(http_client.get(path))["unix"] > 0


@pytest.mark.parametrize("path", UNION_PATHS)
def test_a_text_that_was_cut_is_said_in_the_body(path: str, client: httpx.Client) -> None:
    for body, cut in (
        (union_body(documents=[LONG, "b"]), "1"),
        (union_body(documents=["a " * 30, "b"], max_tokens_per_doc=8), "1"),
        (union_body(documents=["a", "b"], query=LONG), "2"),
    ):
        response = client.post(path, json=body)
        assert_union(response, kept=2)
        [warning] = response.json()["meta"]["warnings"]
        assert warning.startswith(f"{cut} {CUT}")
        assert response.headers["x-rerankd-warnings"] == warning
    whole = client.post(path, json=union_body())
    assert "warnings" not in whole.json()["meta"]
    assert "x-rerankd-warnings" not in whole.headers


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *((path, tei_body(texts=[LONG, "b"])) for path in ("/rerank", *TEI_PATHS)),
        *((path, union_body(documents=[LONG, "b"], top_n=1)) for path in (*VOYAGE, "/infinity/rerank")),
        *((path, {"text_1": QUERY, "text_2": [LONG, "b"]}) for path in (*SCORE_PATHS, "/invocations")),
        ("/predict", {"inputs": [[QUERY, LONG], [QUERY, "b"]]}),
    ],
)
def test_and_in_a_header_in_every_dialect(path: str, body: dict[str, Any], client: httpx.Client) -> None:
    for _ in range(2):  # the second time from the cache
        response = client.post(path, json=body)
        assert response.status_code == 200, response.text
        assert response.headers["x-rerankd-warnings"].startswith(f"1 {CUT}")


def test_warnings_of_any_characters_fit_into_a_header(client: httpx.Client) -> None:
    response = client.post("/v1/rerank", json=union_body(model="模型\r\nx-evil: 1\u2028"))
    assert response.status_code == 200
    assert response.headers["x-rerankd-warnings"].startswith("model '\\u6a21\\u578b")
    assert "x-evil" not in response.headers


@pytest.mark.parametrize(
    ("queries", "documents"), [("text_1", "text_2"), ("queries", "documents"), ("data_1", "data_2")]
)
def test_pairs_at_invocations_are_scored(queries: str, documents: str, client: httpx.Client) -> None:
    body = {queries: [QUERY, QUERY], documents: DOCUMENTS[:2]}
    at_score, at_invocations = (client.post(path, json=body).json() for path in ("/score", "/invocations"))
    assert at_invocations["data"] == at_score["data"]
    assert_union_error(client.post("/invocations", json={queries: [], documents: []}), 400)
    assert_union(client.post("/invocations", json=union_body()), kept=len(DOCUMENTS))


@pytest.mark.parametrize("path", [*UNION_PATHS, "/infinity/rerank", *VOYAGE])
def test_a_document_has_room_for_a_token(path: str, client: httpx.Client) -> None:
    for tokens in (0, -1):
        refused = client.post(path, json=union_body(max_tokens_per_doc=tokens))
        assert refused.status_code == 400
        assert "max_tokens_per_doc" in refused.json()["detail"]
    assert client.post(path, json=union_body(max_tokens_per_doc=1)).status_code == 200


@pytest.mark.parametrize("path", UNION_PATHS)
@pytest.mark.parametrize(
    "document", ["Paris", {"text": "Paris"}, {"content": [{"type": "text", "text": "Paris"}]}, {"content": "Paris"}]
)
def test_one_document_needs_no_list(path: str, document: Any, client: httpx.Client, mini: Reranker) -> None:
    results = assert_union(client.post(path, json=union_body(documents=document)), kept=1)
    assert_scores(by_index(results), mini.score([(QUERY, "Paris")]).tolist())


def test_one_pair_for_predict(client: httpx.Client, scores: list[float]) -> None:
    one = assert_json(client.post("/predict", json={"inputs": [QUERY, DOCUMENTS[0]]}))
    many = assert_json(client.post("/predict", json={"inputs": [[QUERY, DOCUMENTS[0]]]}))
    assert many == [one]
    assert one[0]["score"] == pytest.approx(scores[0], abs=1e-6)
    for wrong in (["a"], "a", ["a", "b", "c"], ["a", ["b"]]):
        assert_tei_error(client.post("/predict", json={"inputs": wrong}), 422, kind="Validation")


@pytest.mark.parametrize("query", ["", "  "])
def test_an_empty_query_beside_a_document_is_scored(query: str, client: httpx.Client) -> None:
    [prediction] = assert_json(client.post("/predict", json={"inputs": [query, "Paris"]}))
    for path in ("/rerank", "/v1/rerank", *TEI_PATHS):
        [ranked] = assert_tei(client.post(path, json={"query": query, "texts": ["Paris"]}), kept=1)
        assert ranked["score"] == pytest.approx(prediction["score"], abs=1e-6)
    assert_tei_error(client.post("/rerank", json={"query": "", "texts": ["a", ""]}), 422, kind="Validation")
    assert_tei_error(client.post("/predict", json={"inputs": ["", ""]}), 422, kind="Validation")
    assert_union_error(client.post("/rerank", json=union_body(query=query)), 400)  # other dialects refuse it
    assert_union_error(client.post("/score", json={"text_1": query, "text_2": "a"}), 400)


@pytest.mark.parametrize("path", [*UNION_PATHS, "/infinity/rerank"])
def test_score_threshold_is_dify_name_of_threshold(path: str, client: httpx.Client, scores: list[float]) -> None:
    lowest = sorted(scores)[-1]
    for name in ("threshold", "score_threshold"):
        results = client.post(path, json=union_body(**{name: lowest - 1e-6})).json()["results"]
        assert [result["index"] for result in results] == [scores.index(lowest)]
    ignored = client.post("/rerank", json=tei_body(score_threshold=0.5))
    assert_tei(ignored, kept=len(DOCUMENTS))
    assert "score_threshold is not supported here" in ignored.headers["x-rerankd-warnings"]


@pytest.mark.parametrize("path", [*UNION_PATHS, *TEI_PATHS, *SCORE_PATHS, "/infinity/rerank", *VOYAGE])
def test_bodies_as_proxies_and_editors_send_them(path: str, client: httpx.Client) -> None:
    body = (
        tei_body()
        if path in TEI_PATHS
        else {"text_1": QUERY, "text_2": DOCUMENTS}
        if path in SCORE_PATHS
        else union_body()
    )
    plain = client.post(path, json=body)
    assert plain.status_code == 200
    content = json.dumps(body, ensure_ascii=False)
    for sent, headers in (
        (gzip.compress(content.encode(), mtime=0), {"content-encoding": "gzip"}),
        (content.encode("utf-8-sig"), {}),
        (content.encode(), {"content-type": "application/json; charset=utf-8"}),
        (content.encode(), {}),
    ):
        assert client.post(path, content=sent, headers=headers).status_code == 200
    for sent, headers, status in (
        (content.encode("gb18030"), {}, 400),
        (content.encode("utf-16"), {}, 400),
        (content.encode(), {"content-encoding": "br"}, 415),
        (content.encode(), {"content-type": "text/plain"}, 415),
        (content.encode(), {"content-type": "application/x-www-form-urlencoded"}, 415),
    ):
        refused = client.post(path, content=sent, headers=headers)
        assert refused.status_code == status, (path, headers)
        assert "UTF-8" in refused.text or status == 415


def test_pages_of_others_do_not_reach_a_local_service(client: httpx.Client) -> None:
    """Send the headers that a browser sends; httpx would set a host of its own."""
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port or 80, timeout=60)
        try:
            connection.request("POST", "/v1/jobs", b"{}", {"Content-Type": "application/json", **headers})
            assert connection.getresponse().status == 403
        finally:
            connection.close()


def test_cohere_reads_objects_as_they_were_sent(server_url: str) -> None:
    sent = [{"text": "Pears are a fruit.", "title": "Pears"}, {"text": "Paris.", "title": "The capital of France"}]
    with package("cohere").Client("any", base_url=server_url) as cohere:
        answer = cohere.rerank(
            model="mini", query=QUERY, documents=sent, rank_fields=["title", "text"], return_documents=True
        )
    assert [result.index for result in answer.results] == [1, 0]
    assert [result.document.dict() for result in answer.results] == sent[::-1]


def test_cohere_tells_what_was_ignored(server_url: str) -> None:
    unprocessable = package("cohere").UnprocessableEntityError
    request = {"model": "mini", "query": QUERY, "documents": DOCUMENTS}
    options = {"additional_body_parameters": {"rerank_mode": "deep"}}
    with package("cohere").ClientV2("any", base_url=server_url) as cohere:
        answer = cohere.rerank(**request, request_options=options)
        assert answer.meta.warnings == ["rerank_mode is unknown and was ignored"]
        strict = options | {"additional_headers": {"X-Rerankd-Strict": "true"}}
        with pytest.raises(unprocessable, match="rerank_mode is unknown"):
            cohere.rerank(**request, request_options=strict)
