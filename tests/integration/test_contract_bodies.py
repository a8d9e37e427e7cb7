"""Bodies as they go over the wire: what each client sends, how it reads the answer, and every rule of the contract."""

from __future__ import annotations

import http.client
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from rerankd import Reranker
from tests.integration.serving import API_KEY, serve

TOLERANCE = 1e-6

QUERY = "What is the capital of France?"
DOCUMENTS = [
    "Pears are a fruit that ripens in autumn.",
    "  Paris is the capital and largest city of France.\n",
    "巴黎是法国的首都。",
    "Pears are a fruit that ripens in autumn.",
    "",
]
VERBATIM = ["  \t padded \r\n", "🐼\U0001f1e8\U0001f1f3\u200d", "a\u0000b", "\ufeff\u2028", "", "竹子 bamboo " * 2000]

UNION_PATHS = ["/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking"]
TEI_PATHS = ["/", "/invocations"]
SCORE_PATHS = ["/score", "/v1/score"]
PREFIXED_PATHS = ["/infinity/rerank", "/voyage/v1/rerank"]
POST_PATHS = [*UNION_PATHS, *TEI_PATHS, *SCORE_PATHS, *PREFIXED_PATHS]
OPEN_PATHS = ["/health", "/ping", "/livez", "/readyz", "/v1/cluster/auth"]
GUARDED_PATHS = ["/info", "/v1/models", "/v1/models/mini", "/metrics", "/docs", "/openapi.json"]

Results = list[dict[str, Any]]


@pytest.fixture(scope="module")
def wire(server_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server_url, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def guarded(guarded_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded_url, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def scores(mini: Reranker) -> list[float]:
    return [float(score) for score in mini.score([(QUERY, text) for text in DOCUMENTS])]


@pytest.fixture(scope="module")
def logits(mini: Reranker) -> list[float]:
    return [float(score) for score in mini.score([(QUERY, text) for text in DOCUMENTS], activation="none")]


def post_as_it_is(client: httpx.Client, path: str, body: object, headers: Mapping[str, str]) -> httpx.Response:
    """Headers as `requests` sends them: httpx refuses the space at the end of `Bearer `."""
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port or 80, timeout=60)
    try:
        connection.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())
    finally:
        connection.close()


def union_body(**more: Any) -> dict[str, Any]:
    return {"model": "mini", "query": QUERY, "documents": DOCUMENTS, **more}


def tei_body(**more: Any) -> dict[str, Any]:
    return {"query": QUERY, "texts": DOCUMENTS, **more}


def body_for(path: str, **more: Any) -> dict[str, Any]:
    if path in TEI_PATHS:
        return tei_body(**more)
    if path in SCORE_PATHS:
        return {"queries": QUERY, "documents": DOCUMENTS, **more}
    return union_body(**more)


def is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def assert_json(answer: httpx.Response) -> Any:
    assert answer.headers["content-type"].partition(";")[0] == "application/json", answer.text
    return answer.json()


def assert_usage(usage: Mapping[str, Any]) -> None:
    assert is_count(usage["prompt_tokens"])
    assert is_count(usage["total_tokens"])
    assert usage["total_tokens"] >= usage["prompt_tokens"] > 0


def assert_union(answer: httpx.Response, *, documents: Sequence[str] | None = None, kept: int | None = None) -> Results:
    """The body that satisfies every client of the union paths; `documents` are the texts that were asked back."""
    assert answer.status_code == 200, answer.text
    body = assert_json(answer)
    assert isinstance(body["id"], str)
    assert body["id"]
    assert isinstance(body["model"], str)
    assert "object" not in body  # Jina says "list", infinity_client refuses everything but "rerank"
    assert_usage(body["usage"])
    assert isinstance(body["meta"]["api_version"]["version"], str)
    assert is_count(body["meta"]["billed_units"]["search_units"])
    assert is_count(body["meta"]["tokens"]["input_tokens"])
    assert is_count(body["meta"]["tokens"]["output_tokens"])
    results: Results = body["results"]
    for result in results:
        assert is_count(result["index"])
        assert isinstance(result["relevance_score"], float)
        assert None not in result.values()
        assert ("document" in result) == (documents is not None)
        if documents is not None:
            assert isinstance(result["document"], dict)
            assert result["document"]["text"] == documents[result["index"]]
    assert_ranking([(result["index"], result["relevance_score"]) for result in results], kept)
    return results


def assert_ranking(pairs: Sequence[tuple[int, float]], kept: int | None) -> None:
    """Best first, ties by index, each index once, all of them unless fewer were asked for."""
    assert list(pairs) == sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    assert len({index for index, _ in pairs}) == len(pairs)
    if kept is not None:
        assert len(pairs) == kept


def assert_scores(got: Mapping[int, float], wanted: Sequence[float]) -> None:
    assert got == pytest.approx({index: wanted[index] for index in got}, abs=TOLERANCE, rel=0)


def by_index(results: Results, score: str = "relevance_score") -> dict[int, float]:
    return {result["index"]: result[score] for result in results}


def assert_tei(answer: httpx.Response, *, texts: Sequence[str] | None = None, kept: int | None = None) -> Results:
    assert answer.status_code == 200, answer.text
    results: Results = assert_json(answer)
    assert isinstance(results, list)
    for result in results:
        assert set(result) == ({"index", "score"} if texts is None else {"index", "score", "text"})
        assert is_count(result["index"])
        assert isinstance(result["score"], float)
        if texts is not None:
            assert result["text"] == texts[result["index"]]
    assert_ranking([(result["index"], result["score"]) for result in results], kept)
    return results


def assert_union_error(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    """One body for readers of `error.message` (OpenAI, vLLM), `detail` (Jina, Voyage) and `message` (Cohere)."""
    assert answer.status_code in statuses, answer.text
    body: dict[str, Any] = assert_json(answer)
    assert set(body["error"]) >= {"message", "type", "param", "code"}
    assert isinstance(body["detail"], str)
    assert body["detail"]
    assert body["detail"] == body["message"] == body["error"]["message"]
    assert isinstance(body["id"], str)
    assert "Traceback" not in answer.text
    return body


def assert_tei_error(answer: httpx.Response, *statuses: int, kind: str | None = None) -> dict[str, Any]:
    assert answer.status_code in statuses, answer.text
    body: dict[str, Any] = assert_json(answer)
    assert isinstance(body["error"], str)
    assert body["error"]
    kinds = {"Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer", "Empty"}
    assert body["error_type"] in ({kind} if kind else kinds)
    return body


# How the readers read, written from their descriptions.


def dify_min_max(body: Mapping[str, Any]) -> dict[int, float]:
    """OAICompatRerankModel: min-max over what came back; nothing crashes it, one or equal scores become 0."""
    found = [result["relevance_score"] for result in body["results"]]
    low, high = min(found), max(found)
    spread = high - low
    return {
        result["index"]: (result["relevance_score"] - low) / spread if spread else 0.0 for result in body["results"]
    }


def dify_text(result: Mapping[str, Any]) -> str:
    """`document` as an object with `text`, or as the text."""
    document = result["document"]
    return str(document["text"] if isinstance(document, dict) else document)


def ragflow_rank(found: Sequence[float]) -> list[float]:
    """Base._normalize_rank: scores inside [0, 1] stay, others are stretched, equal ones are clamped."""
    low, high = min(found), max(found)
    if low >= 0 and high <= 1:
        return list(found)
    if high == low:
        return [min(max(score, 0.0), 1.0) for score in found]
    return [(score - low) / (high - low) for score in found]


def ragflow_scores(body: Mapping[str, Any], documents: Sequence[str]) -> tuple[list[float], int]:
    """The Python providers: a score per place, and the tokens to bill."""
    found = [0.0] * len(documents)
    for result in body["results"]:
        found[result["index"]] = result["relevance_score"]
    usage = body.get("usage") or {}
    return ragflow_rank(found), usage["total_tokens"]


def ragflow_go(body: Mapping[str, Any], documents: Sequence[str]) -> dict[int, float]:
    """The Go rewrite refuses indexes that come twice or point outside."""
    found: dict[int, float] = {}
    for result in body["results"]:
        index = result["index"]
        if index in found or not 0 <= index < len(documents):
            raise ValueError(f"bad index {index}")
        found[index] = result["relevance_score"]
    return found


def open_webui(body: Mapping[str, Any], documents: Sequence[str]) -> list[tuple[str, float]]:
    """ExternalReranker: scores sorted by index, zipped with the documents by position."""
    ordered = sorted(body["results"], key=lambda result: result["index"])
    return list(zip(documents, [result["relevance_score"] for result in ordered], strict=True))


def infinity_client(body: Mapping[str, Any]) -> dict[int, float]:
    """RerankReturnType.from_dict: what it takes for granted, and the one literal it checks."""
    found = {}
    for result in body["results"]:
        document = result.get("document")
        assert document is None or isinstance(document, str)
        found[int(result["index"])] = float(result["relevance_score"])
    assert isinstance(body["model"], str)
    assert isinstance(body["usage"]["prompt_tokens"], int)
    assert isinstance(body["usage"]["total_tokens"], int)
    if body.get("object", "rerank") != "rerank":
        raise ValueError(f"object must match const 'rerank', got {body['object']!r}")
    return found


def infinity_client_422(body: Mapping[str, Any]) -> list[str]:
    """HTTPValidationError.from_dict: `detail` is a list of objects."""
    return [dict(item)["msg"] for item in body.get("detail", [])]


def resp_detail(body: Mapping[str, Any]) -> Any:
    """LlamaIndex's and LangChain's Jina, Haystack's Jina and vLLM: no look at the status."""
    if "results" not in body:
        raise RuntimeError(body["detail"])
    return body["results"]


# The clients of the table, row by row.


@pytest.mark.parametrize("top_n", [len(DOCUMENTS), 3, 0])
@pytest.mark.parametrize("authorization", [{}, {"Authorization": "Bearer x"}])
def test_dify_openai_api_compatible(
    top_n: int, authorization: dict[str, str], wire: httpx.Client, scores: list[float]
) -> None:
    answer = wire.post("/v1/rerank", json=union_body(top_n=top_n), headers=authorization)
    assert answer.status_code == 200
    results = assert_union(answer, kept=top_n or len(DOCUMENTS))
    assert_scores(by_index(results), scores)


def test_dify_validates_its_credentials(wire: httpx.Client) -> None:
    documents = [
        "Carson City is the capital city of the American state of Nevada.",
        "The Commonwealth of the Northern Mariana Islands is a group of islands in the Pacific Ocean.",
        "Washington, D.C. is the capital of the United States.",
    ]
    body = {"model": "any", "query": "What is the capital of the United States?", "documents": documents, "top_n": 3}
    kept = [each for each in assert_union(wire.post("/rerank", json=body)) if each["relevance_score"] >= 0.8]
    assert all(each["index"] < 3 for each in kept)


@pytest.mark.parametrize("top_n", [None, 2])
def test_dify_sdk_base(top_n: int | None, wire: httpx.Client) -> None:
    answer = wire.post("/rerank", json=union_body(top_n=top_n, return_documents=True))
    results = assert_union(answer, documents=DOCUMENTS, kept=top_n or len(DOCUMENTS))
    assert [dify_text(result) for result in results] == [DOCUMENTS[result["index"]] for result in results]
    stretched = dify_min_max(answer.json())
    assert (min(stretched.values()), max(stretched.values())) == (0.0, 1.0)


def test_dify_sdk_base_with_one_document(wire: httpx.Client) -> None:
    body = union_body(documents=DOCUMENTS[:1], return_documents=True, top_n=None)
    assert dify_min_max(wire.post("/rerank", json=body).json()) == {0: 0.0}


def test_dify_sdk_base_never_meets_empty_results(wire: httpx.Client) -> None:
    with pytest.raises(ValueError, match="empty"):
        dify_min_max({"results": []})
    assert_union_error(wire.post("/rerank", json=union_body(documents=[], return_documents=True)), 400)


def test_dify_tei_plugin(wire: httpx.Client, scores: list[float]) -> None:
    info = assert_json(wire.get("/info"))
    assert "reranker" in info["model_type"]
    assert info["max_input_length"] > 0
    assert info["max_client_batch_size"] > 0
    results = assert_tei(wire.post("/rerank", json=tei_body(return_text=True)), texts=DOCUMENTS, kept=len(DOCUMENTS))
    assert_scores(by_index(results, "score"), scores)
    assert results[0]["score"] == pytest.approx(max(scores), abs=TOLERANCE)


def test_dify_xinference_plugin(wire: httpx.Client, scores: list[float]) -> None:
    assert assert_json(wire.get("/v1/cluster/auth")) == {"auth": False}
    assert assert_json(wire.get("/v1/models/mini"))["model_type"] == "rerank"
    body = union_body(top_n=2, max_chunks_per_doc=None, return_documents=True, return_len=None, kwargs="{}")
    results = assert_union(wire.post("/v1/rerank", json=body), documents=DOCUMENTS, kept=2)
    assert_scores(by_index(results), scores)


@pytest.mark.parametrize("top_n", [None, 3])
@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
def test_dify_localai_and_gpustack(path: str, top_n: int | None, wire: httpx.Client) -> None:
    results = assert_union(wire.post(path, json=union_body(top_n=top_n)), kept=top_n or len(DOCUMENTS))
    assert all("document" not in result for result in results)


def test_dify_jina(wire: httpx.Client, scores: list[float]) -> None:
    body = union_body(documents=[{"text": text} for text in DOCUMENTS], top_n=3, return_documents=False)
    assert_scores(by_index(assert_union(wire.post("/v1/rerank", json=body), kept=3)), scores)


def test_dify_siliconflow(wire: httpx.Client) -> None:
    body = union_body(return_documents=True, max_chunks_per_doc=10, overlap_tokens=80, top_n=4)
    assert_union(wire.post("/v1/rerank", json=body), documents=DOCUMENTS, kept=4)


@pytest.mark.parametrize("top_k", [None, 2, 50])
@pytest.mark.parametrize("back", [None, False, True])
def test_dify_voyage(top_k: int | None, back: bool | None, wire: httpx.Client, scores: list[float]) -> None:
    answer = wire.post("/voyage/v1/rerank", json=union_body(top_k=top_k, return_documents=back, truncation=True))
    assert answer.status_code == 200, answer.text
    body = assert_json(answer)
    assert body["object"] == "list"
    assert isinstance(body["model"], str)
    assert body["usage"]["total_tokens"] > 0
    data: Results = body["data"]
    assert all(("document" in each) == bool(back) for each in data)
    if back:
        assert all(each["document"] == DOCUMENTS[each["index"]] for each in data)
    assert_ranking([(each["index"], each["relevance_score"]) for each in data], min(top_k or 99, len(DOCUMENTS)))
    assert_scores(by_index(data), scores)


@pytest.mark.parametrize("path", UNION_PATHS[:2])
def test_ragflow_openai_localai_and_jina(path: str, wire: httpx.Client, scores: list[float]) -> None:
    answer = wire.post(path, json=union_body(top_n=len(DOCUMENTS)), headers={"Authorization": "Bearer x"})
    assert_union(answer, kept=len(DOCUMENTS))
    found, tokens = ragflow_scores(answer.json(), DOCUMENTS)
    assert found == pytest.approx(scores, abs=TOLERANCE, rel=0)  # untouched: inside [0, 1]
    assert tokens > 0


def test_ragflow_xinference_sends_strings(wire: httpx.Client, scores: list[float]) -> None:
    answer = wire.post("/v1/rerank", json=union_body(return_documents="true", return_len="true"))
    assert_union(answer, documents=DOCUMENTS, kept=len(DOCUMENTS))
    assert ragflow_scores(answer.json(), DOCUMENTS)[0] == pytest.approx(scores, abs=TOLERANCE, rel=0)


def test_ragflow_tei_sends_eight_at_a_time(wire: httpx.Client, mini: Reranker) -> None:
    documents = [f"{text} {number}" for number in range(5) for text in DOCUMENTS]
    found = [math.nan] * len(documents)
    for start in range(0, len(documents), 8):
        body = tei_body(texts=documents[start : start + 8], raw_scores=False, truncate=True)
        for result in assert_tei(wire.post("/rerank", json=body)):
            found[start + result["index"]] = result["score"]
    wanted = mini.score([(QUERY, text) for text in documents]).tolist()
    assert ragflow_rank(found) == pytest.approx(wanted, abs=TOLERANCE, rel=0)


def test_ragflow_cohere_and_vllm(wire: httpx.Client) -> None:
    body = union_body(top_n=len(DOCUMENTS), return_documents=False)
    assert_union(wire.post("/v1/rerank", json=body), kept=len(DOCUMENTS))


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
@pytest.mark.parametrize("top_n", [1, 5])
def test_ragflow_go(path: str, top_n: int, wire: httpx.Client, scores: list[float]) -> None:
    answer = wire.post(path, json=union_body(top_n=top_n))
    assert_scores(ragflow_go(answer.json(), DOCUMENTS), scores)


@pytest.mark.parametrize("authorization", ["Bearer ", "Bearer None", "Bearer", "", "None", "Basic eDp5"])
def test_open_webui_on_an_open_server(authorization: str, wire: httpx.Client, scores: list[float]) -> None:
    headers = {"Authorization": authorization, "X-OpenWebUI-User-Name": "%E7%8E%8B", "X-OpenWebUI-User-Role": "user"}
    answer = post_as_it_is(wire, "/v1/rerank", union_body(top_n=len(DOCUMENTS)), headers)
    assert_union(answer, kept=len(DOCUMENTS))
    zipped = open_webui(answer.json(), DOCUMENTS)
    assert [text for text, _ in zipped] == DOCUMENTS
    assert [score for _, score in zipped] == pytest.approx(scores, abs=TOLERANCE, rel=0)
    assert all(0 <= score <= 1 for _, score in zipped)


def test_llama_index_jina_asks_for_identity(wire: httpx.Client) -> None:
    headers = {"Accept-Encoding": "identity"}
    answer = wire.post("/v1/rerank", json=union_body(documents=VERBATIM, return_documents=True), headers=headers)
    assert "content-encoding" not in answer.headers
    assert len(resp_detail(answer.json())) == len(VERBATIM)


def test_langchain_infinity(wire: httpx.Client, scores: list[float], logits: list[float]) -> None:
    body = union_body(return_documents=False, raw_scores=False)
    assert_scores(infinity_client(wire.post("/rerank", json=body).json()), scores)
    assert_scores(infinity_client(wire.post("/infinity/rerank", json=body).json()), scores)
    body["raw_scores"] = True
    assert_scores(infinity_client(wire.post("/rerank", json=body).json()), logits)


def test_infinity_prefix_gives_plain_documents(wire: httpx.Client, scores: list[float]) -> None:
    answer = wire.post("/infinity/rerank", json=union_body(return_documents=True, top_n=3))
    assert_scores(infinity_client(answer.json()), scores)
    assert [each["document"] for each in answer.json()["results"]] == [
        DOCUMENTS[each["index"]] for each in answer.json()["results"]
    ]
    assert len(answer.json()["results"]) == 3
    bare = wire.post("/infinity/rerank", json=union_body()).json()
    assert all("document" not in each for each in bare["results"])


def test_infinity_client_could_not_read_a_422(wire: httpx.Client) -> None:
    """Why bad requests to union bodies are 400: a 422's `detail` would be taken for a list of objects."""
    answer = wire.post("/rerank", json=union_body(documents=[]))
    assert answer.status_code == 400
    with pytest.raises(ValueError, match="dictionary update"):
        infinity_client_422(answer.json())


def test_readers_of_detail_get_the_sentence(wire: httpx.Client) -> None:
    answer = wire.post("/v1/rerank", json=union_body(documents=[]))
    with pytest.raises(RuntimeError) as raised:
        resp_detail(answer.json())
    assert str(raised.value) == answer.json()["message"]


def test_vllm_extras_are_taken(wire: httpx.Client, scores: list[float]) -> None:
    body = union_body(
        top_n=0,
        user="u",
        instruction="Judge",
        chat_template_kwargs={},
        use_activation=True,
        priority=0,
        request_id="r",
        mm_processor_kwargs=None,
        cache_salt="s",
        truncate_prompt_tokens=-1,
        truncation_side="right",
        max_tokens_per_query=0,
        max_tokens_per_doc=0,
    )
    assert_scores(by_index(assert_union(wire.post("/v1/rerank", json=body), kept=len(DOCUMENTS))), scores)


def test_cohere_v2_extras_are_taken(wire: httpx.Client, scores: list[float]) -> None:
    body = union_body(
        max_tokens_per_doc=4096, priority=999, relevant_spans={"mode": "disabled"}, rank_fields=["text"], top_n=5
    )
    assert_scores(by_index(assert_union(wire.post("/v2/rerank", json=body))), scores)


def test_litellm_and_rerankers_send_top_n_to_tei(wire: httpx.Client) -> None:
    body = tei_body(top_n=2, return_text=True, raw_scores=False, truncation_direction="Right", model="mini")
    assert_tei(wire.post("/rerank", json=body), texts=DOCUMENTS, kept=2)


# The union body.


@pytest.mark.parametrize("path", UNION_PATHS)
@pytest.mark.parametrize("back", [None, False, True, "true", "false"])
def test_documents_come_back_only_when_asked(path: str, back: Any, wire: httpx.Client) -> None:
    asked = back in (True, "true")
    answer = wire.post(path, json=union_body(return_documents=back))
    assert_union(answer, documents=DOCUMENTS if asked else None, kept=len(DOCUMENTS))


@pytest.mark.parametrize("path", UNION_PATHS)
def test_documents_stay_away_by_default(path: str, wire: httpx.Client, scores: list[float]) -> None:
    assert_scores(by_index(assert_union(wire.post(path, json=union_body()), kept=len(DOCUMENTS))), scores)


def test_texts_come_back_verbatim(wire: httpx.Client) -> None:
    for documents in (VERBATIM, [{"text": text} for text in VERBATIM]):
        body = union_body(documents=documents, return_documents=True)
        assert_union(wire.post("/v1/rerank", json=body), documents=VERBATIM, kept=len(VERBATIM))
    assert_tei(wire.post("/rerank", json=tei_body(texts=VERBATIM, return_text=True)), texts=VERBATIM)
    for path, key in (("/infinity/rerank", "results"), ("/voyage/v1/rerank", "data")):
        results = wire.post(path, json=union_body(documents=VERBATIM, return_documents=True)).json()[key]
        assert {each["index"]: each["document"] for each in results} == dict(enumerate(VERBATIM))


@pytest.mark.parametrize(
    ("top_n", "kept"), [(None, 5), (0, 5), (1, 1), (4, 4), (5, 5), (6, 5), (10**6, 5)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank", "/infinity/rerank"])
def test_top_n(path: str, top_n: int | None, kept: int, wire: httpx.Client) -> None:
    answer = wire.post(path, json=union_body(top_n=top_n))
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["results"]) == kept


@pytest.mark.parametrize("path", UNION_PATHS)
def test_top_n_below_zero(path: str, wire: httpx.Client) -> None:
    answer = wire.post(path, json=union_body(top_n=-1))
    if answer.status_code == 200:
        assert_union(answer, kept=len(DOCUMENTS))
    else:
        assert_union_error(answer, 400)


@pytest.mark.parametrize("top_n", [None, 0, 1, 99])
@pytest.mark.parametrize("path", ["/rerank", *TEI_PATHS])
def test_top_n_of_tei(path: str, top_n: int | None, wire: httpx.Client) -> None:
    assert_tei(wire.post(path, json=tei_body(top_n=top_n)), kept=min(top_n or 99, len(DOCUMENTS)))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text,
        lambda text: {"text": text},
        lambda text: {"text": text, "id": "7", "title": None, "metadata": {"a": 1}},
        lambda text: {"content": [{"type": "text", "text": text}]},
    ],
    ids=["string", "text", "text-and-more", "content"],
)
def test_forms_of_queries_and_documents(wrap: Any, wire: httpx.Client, scores: list[float]) -> None:
    documents = [wrap(text) for text in DOCUMENTS]
    for query in (QUERY, {"text": QUERY}, {"content": [{"type": "text", "text": QUERY}]}):
        body = union_body(query=query, documents=documents, return_documents=True)
        results = assert_union(wire.post("/v1/rerank", json=body), documents=DOCUMENTS, kept=len(DOCUMENTS))
        assert_scores(by_index(results), scores)


def test_forms_of_documents_mix(wire: httpx.Client, scores: list[float]) -> None:
    documents = [DOCUMENTS[0], {"text": DOCUMENTS[1]}, {"content": [{"type": "text", "text": DOCUMENTS[2]}]}]
    results = assert_union(wire.post("/rerank", json=union_body(documents=documents)), kept=3)
    assert_scores(by_index(results), scores)


def test_images_are_refused_or_passed_over(wire: httpx.Client) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    for content in ([image], [{"type": "text", "text": "a pear"}, image], []):
        answer = wire.post("/v1/rerank", json=union_body(documents=[{"content": content}, "b"]))
        assert answer.status_code in (200, 400)
        if answer.status_code == 400:
            assert_union_error(answer, 400)


def test_a_bare_document_is_one_or_refused(wire: httpx.Client) -> None:
    answer = wire.post("/v1/rerank", json=union_body(documents="Paris is the capital."))
    if answer.status_code == 200:
        assert_union(answer, kept=1)
    else:
        assert_union_error(answer, 400)


def test_single_document(wire: httpx.Client) -> None:
    for path in UNION_PATHS:
        assert_union(wire.post(path, json=union_body(documents=["x"], return_documents=True)), documents=["x"], kept=1)
    assert_tei(wire.post("/rerank", json=tei_body(texts=["x"])), kept=1)


OPTIONAL = {
    "model": "mini",
    "top_n": 5,
    "return_documents": False,
    "raw_scores": False,
    "use_activation": True,
    "max_chunks_per_doc": 10,
    "max_tokens_per_doc": 4096,
    "overlap_tokens": 80,
    "truncation": True,
    "truncate_prompt_tokens": -1,
    "truncation_side": "right",
    "max_tokens_per_query": 2048,
    "rank_fields": ["text"],
    "return_len": False,
    "kwargs": "{}",
    "instruction": "",
    "user": "u",
    "priority": 0,
}


@pytest.mark.parametrize("path", [*UNION_PATHS, "/infinity/rerank", "/voyage/v1/rerank"])
def test_null_is_the_same_as_left_out(path: str, wire: httpx.Client, scores: list[float]) -> None:
    body = union_body(**dict.fromkeys([*OPTIONAL, "top_k", "relevant_spans", "request_id", "nothing"], None))
    answer = wire.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert_scores(by_index(answer.json()["data" if "voyage" in path else "results"]), scores)


@pytest.mark.parametrize("name", OPTIONAL)
def test_options_that_ask_for_nothing_change_nothing(name: str, wire: httpx.Client, scores: list[float]) -> None:
    answer = wire.post("/v1/rerank", json=union_body(**{name: OPTIONAL[name]}))
    assert_scores(by_index(assert_union(answer, kept=len(DOCUMENTS))), scores)


@pytest.mark.parametrize(
    "odd",
    [
        {"truncation_side": "middle"},
        {"truncation_side": "left", "truncate_prompt_tokens": 16},
        {"truncate_prompt_tokens": 0},
        {"truncate_prompt_tokens": 10**12},
        {"max_tokens_per_doc": -5},
        {"max_tokens_per_doc": 1},
        {"max_tokens_per_doc": "many"},
        {"max_tokens_per_query": 1, "max_tokens_per_doc": 1},
        {"max_chunks_per_doc": 0},
        {"max_chunks_per_doc": 10**9},
        {"overlap_tokens": 10**6, "max_chunks_per_doc": 2},
        {"overlap_tokens": -1},
        {"truncation": False},
        {"relevant_spans": {"mode": "enabled", "threshold": 0.1}},
        {"rank_fields": ["title", 7]},
        {"priority": -(10**30)},
        {"return_len": True},
        {"kwargs": "{not json"},
    ],
    ids=str,
)
def test_odd_options_are_warned_about_or_refused(odd: dict[str, Any], wire: httpx.Client) -> None:
    answer = wire.post("/v1/rerank", json=union_body(documents=[*DOCUMENTS, "long " * 3000], **odd))
    if answer.status_code == 200:
        assert_union(answer, kept=len(DOCUMENTS) + 1)
        assert all(isinstance(warning, str) for warning in answer.json()["meta"].get("warnings", []))
    else:
        assert_union_error(answer, 400)


def test_unknown_fields_are_passed_over(wire: httpx.Client, scores: list[float]) -> None:
    body = union_body(foo={"bar": [1, None]}, **{"": 0, "文": "字", "__class__": "x"})
    assert_scores(by_index(assert_union(wire.post("/v1/rerank", json=body))), scores)
    assert_scores(by_index(assert_tei(wire.post("/rerank", json=tei_body(foo=1, inputs=[]))), "score"), scores)


@pytest.mark.parametrize("model", ["bge-reranker-v2-m3", "", "Qwen/Qwen3-Reranker@main", "models:/x@y", "模型"])
def test_any_model_name_is_served(model: str, wire: httpx.Client, scores: list[float]) -> None:
    assert_scores(by_index(assert_union(wire.post("/v1/rerank", json=union_body(model=model)))), scores)


def test_ties_go_by_index(wire: httpx.Client) -> None:
    documents = ["same", "other words", "same", "same", "other words", "same"]
    results = assert_union(wire.post("/rerank", json=union_body(documents=documents)), kept=6)
    places = [result["index"] for result in results]
    assert [place for place in places if documents[place] == "same"] == [0, 2, 3, 5]
    assert [place for place in places if documents[place] != "same"] == [1, 4]
    assert len(set(by_index(results).values())) == 2


def test_ids_differ_and_scores_do_not(wire: httpx.Client) -> None:
    first, second = (wire.post("/rerank", json=union_body()).json() for _ in range(2))
    assert first["id"] != second["id"]
    assert first["results"] == second["results"]
    assert first["usage"]["total_tokens"] > 0
    assert second["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("more", [{"raw_scores": True}, {"raw_scores": "true"}, {"use_activation": False}], ids=str)
@pytest.mark.parametrize("path", [*UNION_PATHS, "/infinity/rerank"])
def test_logits_on_request(path: str, more: dict[str, Any], wire: httpx.Client, logits: list[float]) -> None:
    answer = wire.post(path, json=union_body(**more))
    assert answer.status_code == 200, answer.text
    assert_scores(by_index(answer.json()["results"]), logits)


@pytest.mark.parametrize("more", [{"raw_scores": "false"}, {"use_activation": "true"}], ids=str)
def test_booleans_in_words(more: dict[str, Any], wire: httpx.Client, scores: list[float]) -> None:
    assert_scores(by_index(assert_union(wire.post("/v1/rerank", json=union_body(**more)))), scores)


# TEI.


@pytest.mark.parametrize("path", [*UNION_PATHS, *TEI_PATHS])
def test_texts_make_it_tei_on_any_path(path: str, wire: httpx.Client, scores: list[float]) -> None:
    results = assert_tei(wire.post(path, json=tei_body()), kept=len(DOCUMENTS))
    assert_scores(by_index(results, "score"), scores)


@pytest.mark.parametrize("truncate", [True, False, None, "true", "false"])
@pytest.mark.parametrize("direction", ["Left", "Right", "left", "right", None])
def test_tei_truncation(truncate: Any, direction: str | None, wire: httpx.Client, scores: list[float]) -> None:
    body = tei_body(truncate=truncate, truncation_direction=direction)
    assert_scores(by_index(assert_tei(wire.post("/rerank", json=body)), "score"), scores)


def test_tei_cuts_long_texts(wire: httpx.Client, mini: Reranker) -> None:
    texts = ["panda " * 3000, "bamboo"]
    for truncate in ({}, {"truncate": True}, {"truncate": None}):
        results = assert_tei(wire.post("/rerank", json=tei_body(texts=texts, **truncate)), kept=2)
        assert_scores(by_index(results, "score"), mini.score([(QUERY, text) for text in texts]).tolist())
    left = wire.post("/rerank", json=tei_body(texts=texts, truncate=True, truncation_direction="Left"))
    assert_tei(left, kept=2)


def test_tei_does_not_cut_when_told_so(wire: httpx.Client) -> None:
    answer = wire.post("/rerank", json=tei_body(texts=["panda " * 3000], truncate=False))
    if answer.status_code == 200:
        assert_tei(answer, kept=1)
    else:
        assert_tei_error(answer, 413, 422, kind="Validation")


@pytest.mark.parametrize(
    ("raw", "wanted"), [(True, "logits"), ("true", "logits"), (False, "scores"), ("false", "scores")]
)
def test_tei_raw_scores(raw: Any, wanted: str, wire: httpx.Client, request: pytest.FixtureRequest) -> None:
    results = assert_tei(wire.post("/rerank", json=tei_body(raw_scores=raw)))
    assert_scores(by_index(results, "score"), request.getfixturevalue(wanted))


@pytest.mark.parametrize("back", [True, "true", False, "false", None])
def test_tei_text_comes_back_only_when_asked(back: Any, wire: httpx.Client) -> None:
    asked = back in (True, "true")
    assert_tei(wire.post("/rerank", json=tei_body(return_text=back)), texts=DOCUMENTS if asked else None)


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", *TEI_PATHS])
def test_tei_errors(path: str, wire: httpx.Client) -> None:
    assert_tei_error(wire.post(path, json=tei_body(texts=[])), 400, kind="Empty")
    wrongs: list[Any] = [None, 7, [1], [None], {}]
    for wrong in wrongs:
        assert_tei_error(wire.post(path, json=tei_body(texts=wrong)), 400, 422, kind="Validation")
    assert_tei_error(wire.post(path, json=tei_body(query=None)), 400, 422, kind="Validation")
    assert_tei_error(wire.post(path, json={"texts": ["a"]}), 400, 422, kind="Validation")


def test_info(wire: httpx.Client) -> None:
    info = assert_json(wire.get("/info"))
    assert set(info) >= {
        "model_id",
        "model_sha",
        "model_dtype",
        "model_type",
        "max_concurrent_requests",
        "max_input_length",
        "max_batch_tokens",
        "max_batch_requests",
        "max_client_batch_size",
        "auto_truncate",
        "tokenization_workers",
        "version",
        "sha",
        "docker_label",
    }
    assert list(info["model_type"]) == ["reranker"]
    assert set(info["model_type"]["reranker"]) >= {"id2label", "label2id"}
    assert info["auto_truncate"] is True
    for name in ("max_concurrent_requests", "max_input_length", "max_batch_tokens", "max_client_batch_size"):
        assert is_count(info[name])
        assert info[name] > 0


# Scores of pairs.


@pytest.mark.parametrize("path", SCORE_PATHS)
@pytest.mark.parametrize(
    ("queries", "documents"),
    [("queries", "documents"), ("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2")],
)
def test_score_keeps_the_order(
    path: str, queries: str, documents: str, wire: httpx.Client, scores: list[float]
) -> None:
    for query in (QUERY, [QUERY], [QUERY] * len(DOCUMENTS)):
        answer = wire.post(path, json={"model": "mini", queries: query, documents: DOCUMENTS})
        assert answer.status_code == 200, answer.text
        body = assert_json(answer)
        assert body["object"] == "list"
        assert is_count(body["created"])
        assert isinstance(body["id"], str)
        assert isinstance(body["model"], str)
        assert_usage(body["usage"])
        assert [each["index"] for each in body["data"]] == list(range(len(DOCUMENTS)))
        assert {each["object"] for each in body["data"]} == {"score"}
        assert_scores(by_index(body["data"], "score"), scores)


def test_score_pairs_by_position(wire: httpx.Client, mini: Reranker) -> None:
    queries = [QUERY, "大熊猫吃什么?", "   fruit  "]
    wanted = mini.score(list(zip(queries, DOCUMENTS, strict=False))).tolist()
    answer = wire.post("/v1/score", json={"text_1": queries, "text_2": DOCUMENTS[:3]})
    assert_scores(by_index(answer.json()["data"], "score"), wanted)


def test_score_takes_one_pair(wire: httpx.Client, scores: list[float], logits: list[float]) -> None:
    body = {"text_1": QUERY, "text_2": DOCUMENTS[0]}
    assert_scores(by_index(wire.post("/score", json=body).json()["data"], "score"), scores)
    raw = wire.post("/score", json={**body, "use_activation": False})
    assert_scores(by_index(raw.json()["data"], "score"), logits)


@pytest.mark.parametrize("path", SCORE_PATHS)
@pytest.mark.parametrize(
    "wrong",
    [
        {"queries": ["a", "b"], "documents": ["a", "b", "c"]},
        {"queries": ["a", "b"], "documents": ["a"]},
        {"queries": [], "documents": ["a"]},
        {"queries": "a", "documents": []},
        {"queries": "a"},
        {"documents": ["a"]},
        {"queries": 7, "documents": ["a"]},
        {"queries": "a", "documents": [None]},
        {},
    ],
    ids=str,
)
def test_score_refuses(path: str, wrong: dict[str, Any], wire: httpx.Client) -> None:
    assert_union_error(wire.post(path, json=wrong), 400)


# Models, health, documents of the service itself.


def test_models(wire: httpx.Client) -> None:
    listing = assert_json(wire.get("/v1/models"))
    assert listing["object"] == "list"
    assert "mini" in [model["id"] for model in listing["data"]]
    for model in listing["data"]:
        one = assert_json(wire.get(f"/v1/models/{model['id']}"))
        assert one["id"] == model["id"]
        assert one["model_type"] == "rerank"


def test_a_model_that_is_not_there(wire: httpx.Client) -> None:
    answer = wire.get("/v1/models/no-such-model")
    if answer.status_code == 200:  # names are not checked unless strict_models is set
        assert assert_json(answer)["model_type"] == "rerank"
    else:
        assert_union_error(answer, 404)


@pytest.mark.parametrize("path", [*OPEN_PATHS, *GUARDED_PATHS])
def test_an_open_server_shows_everything(path: str, wire: httpx.Client) -> None:
    assert wire.get(path).status_code == 200


def test_cluster_auth_says_whether_keys_are_asked_for(wire: httpx.Client, guarded: httpx.Client) -> None:
    assert assert_json(wire.get("/v1/cluster/auth")) == {"auth": False}
    assert assert_json(guarded.get("/v1/cluster/auth")) == {"auth": True}


# Keys.


@pytest.mark.parametrize("path", OPEN_PATHS)
def test_health_needs_no_key(path: str, guarded: httpx.Client) -> None:
    assert guarded.get(path).status_code == 200
    assert guarded.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *GUARDED_PATHS,
        "/",
        "/nope",
        "/v1/nope",
        "/info/",
        "//info",
        "/INFO",
        "/v1/models/",
        "/health/x",
        "/score",
        "/rerank",
    ],
)
def test_everything_else_needs_a_key(path: str, guarded: httpx.Client) -> None:
    url = str(guarded.base_url).rstrip("/") + path
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert_union_error(guarded.get(url, headers=headers), 401)
    if path in GUARDED_PATHS:
        assert guarded.get(url, headers={"Authorization": f"Bearer {API_KEY}"}).status_code == 200


@pytest.mark.parametrize("path", POST_PATHS)
def test_posts_need_a_key(path: str, guarded: httpx.Client) -> None:
    assert_union_error(guarded.post(path, json=body_for(path)), 401)
    assert_union_error(guarded.post(path, content=b"{"), 401)
    assert guarded.post(path, json=body_for(path), headers={"Api-Key": API_KEY}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {API_KEY}"},
        {"Authorization": f"bearer {API_KEY}"},
        {"Authorization": API_KEY},
        {"X-API-Key": API_KEY},
        {"Api-Key": API_KEY},
        {"api-key": API_KEY},
    ],
    ids=str,
)
def test_ways_to_send_a_key(headers: dict[str, str], guarded: httpx.Client) -> None:
    assert_union(guarded.post("/v1/rerank", json=union_body(), headers=headers))
    assert_tei(guarded.post("/rerank", json=tei_body(), headers=headers))
    assert assert_json(guarded.get("/v1/models/mini", headers=headers))["model_type"] == "rerank"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer None"},
        {"Authorization": f"Bearer {API_KEY}x"},
        {"Authorization": f"Bearer {API_KEY[:-1]}"},
        {"Authorization": f"Bearer {API_KEY.upper()}"},
        {"Authorization": f"Basic {API_KEY}"},
        {"Authorization": "Bearer s\u00e9cret"},
        {"Authorization": "Bearer 密钥".encode().decode("latin-1")},
        {"X-API-Key": ""},
        {"X-API-Key": "wrong"},
        {"Api-Key": "wrong"},
        {"X-API-Key": f"[{API_KEY}]"},
    ],
    ids=str,
)
def test_wrong_keys(headers: dict[str, str], guarded: httpx.Client) -> None:
    assert_union_error(post_as_it_is(guarded, "/v1/rerank", union_body(), headers), 401)
    assert_union_error(post_as_it_is(guarded, "/rerank", tei_body(), headers), 401)


def test_keys_are_not_read_from_the_address(guarded: httpx.Client) -> None:
    for name in ("key", "api_key", "api-key", "token"):
        assert_union_error(guarded.post("/rerank", json=union_body(), params={name: API_KEY}), 401)


# Errors.


@pytest.mark.parametrize("path", [*UNION_PATHS, *PREFIXED_PATHS])
def test_empty_documents(path: str, wire: httpx.Client) -> None:
    assert_union_error(wire.post(path, json=union_body(documents=[])), 400)


WRONG_BODIES: list[dict[str, Any]] = [
    {},
    {"query": QUERY},
    {"documents": ["a"]},
    {"query": QUERY, "documents": None},
    {"query": QUERY, "documents": 7},
    {"query": QUERY, "documents": {}},
    {"query": QUERY, "documents": [1]},
    {"query": QUERY, "documents": [None]},
    {"query": QUERY, "documents": ["a", {}]},
    {"query": QUERY, "documents": [{"text": 1}]},
    {"query": QUERY, "documents": [{"text": None}]},
    {"query": QUERY, "documents": [["a"]]},
    {"query": QUERY, "documents": [{"content": 1}]},
    {"query": None, "documents": ["a"]},
    {"query": 7, "documents": ["a"]},
    {"query": [], "documents": ["a"]},
    {"query": {}, "documents": ["a"]},
    {"query": {"text": None}, "documents": ["a"]},
    {"query": "", "documents": ["a"]},
    {"query": QUERY, "documents": ["a"], "top_n": "many"},
    {"query": QUERY, "documents": ["a"], "top_n": [1]},
    {"query": QUERY, "documents": ["a"], "return_documents": "perhaps"},
    {"query": QUERY, "documents": ["a"], "raw_scores": [True]},
]


@pytest.mark.parametrize("wrong", WRONG_BODIES, ids=str)
def test_bad_requests(wrong: dict[str, Any], wire: httpx.Client) -> None:
    for path in (*UNION_PATHS, *PREFIXED_PATHS):
        if "voyage" in path and ("top_n" in wrong or "raw_scores" in wrong):
            continue  # not among Voyage's fields
        assert_union_error(wire.post(path, json=wrong), 400)


MALFORMED = [
    b"",
    b" ",
    b"{",
    b"null",
    b"[]",
    b"7",
    b'"query"',
    b"{'query': 'a'}",
    b'{"query": "a", "documents": ["b"]',
    b'{"query": "a", "documents": ["b"]} x',
    b'{"query": "a", "documents": ["b"],}',
    b'{"query": "\xff", "documents": ["b"]}',
    b'{"query": "a\n\x00", "documents": ["b"]}',
    b"\x00",
    b"query=a&documents=b",
    b"[" * 100_000,
    b'{"query":' * 20_000,
]


@pytest.mark.parametrize("content", MALFORMED, ids=lambda content: repr(content[:30]))
def test_malformed_json(content: bytes, wire: httpx.Client) -> None:
    for path in POST_PATHS:
        answer = wire.post(path, content=content, headers={"Content-Type": "application/json"})
        if path in TEI_PATHS and isinstance(assert_json(answer).get("error"), str):
            assert_tei_error(answer, 400, 422)
        else:
            assert_union_error(answer, 400)


@pytest.mark.parametrize("path", ["/nope", "/v1/nope", "/v3/rerank", "/v1", "/rerank/extra", "/%2e%2e/x", "/文"])
def test_not_found(path: str, wire: httpx.Client) -> None:
    assert_union_error(wire.get(path), 404)
    assert_union_error(wire.post(path, json=union_body()), 404)


@pytest.mark.parametrize("path", [*UNION_PATHS, "/invocations", *SCORE_PATHS, *PREFIXED_PATHS])
def test_method_not_allowed(path: str, wire: httpx.Client) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = wire.request(method, path)
        assert_union_error(answer, 405)
        assert "POST" in answer.headers["allow"]


def test_too_large(wire: httpx.Client) -> None:
    for body in (union_body(documents=["x" * 1024] * 33_000), tei_body(texts=["x" * 1024] * 33_000)):
        assert_union_error(wire.post("/rerank", json=body), 413)
    assert_union(wire.post("/rerank", json=union_body()))


def test_overload_says_when_to_come_back() -> None:
    """What the Cohere SDK and Haystack wait for; in TEI's words to TEI bodies."""
    words = ["some words to read " * 40 + str(number) for number in range(150)]

    def ask(number: int) -> httpx.Response:
        body = {"query": f"what is {number}?", "texts" if number % 2 else "documents": words}
        return httpx.post(f"{served.url}/rerank", json=body, timeout=60, trust_env=False)

    with serve(env={"RERANKD_MAX_QUEUE_SECONDS": "0.001"}) as served, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8)))
    refused = [answer for answer in answers if answer.status_code != 200]
    for answer in refused:
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert int(answer.headers["retry-after-ms"]) >= 1
    in_tei = [answer for answer in refused if "error_type" in answer.json()]
    assert 0 < len(in_tei) < len(refused)
    for answer in refused:
        if answer in in_tei:
            assert_tei_error(answer, 429, kind="Overloaded")
        else:
            assert_union_error(answer, 429)


@pytest.mark.parametrize(
    "content",
    [
        rb'{"query": "\ud800", "documents": ["a", "b"], "return_documents": true}',
        rb'{"query": "a", "documents": ["\udfff", "b"], "return_documents": true}',
        rb'{"query": "a\udc00\ud800b", "documents": [{"text": "\ud800\ud800"}], "return_documents": true}',
        rb'{"query": "a", "documents": ["b"], "model": "\ud800"}',
        rb'{"query": "a", "documents": ["b"], "\ud800": "\ud800"}',
        rb'{"query": "a", "texts": ["\ud800"], "return_text": true}',
        rb'{"queries": "a", "documents": ["\ud800"], "text_1": "a", "text_2": "\ud800"}',
    ],
    ids=str,
)
def test_lone_surrogates(content: bytes, wire: httpx.Client) -> None:
    for path in POST_PATHS:
        answer = wire.post(path, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in (200, 400), (path, answer.text)
        assert json.loads(answer.content.decode("utf-8"))
