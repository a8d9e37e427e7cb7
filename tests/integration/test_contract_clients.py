"""The packages people already use, each against the real server: same order, same scores, its own errors."""

from __future__ import annotations

import functools
import math
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from rerankd import Reranker
from tests.integration.serving import API_KEY
from tests.integration.third_party_clients import CLIENTS, Call, Client, Ranked, package

TOLERANCE = 1e-6
WRONG_KEY = "not-the-secret"

LONG = "The panda lives in the bamboo forests of Sichuan. 大熊猫住在四川的竹林里。" * 300
ENGLISH = (
    "What is the capital of France?",
    (
        "Pears are a fruit that ripens in autumn.",
        "Paris is the capital and largest city of France.",
        "",
        LONG,
        "  \t Lyon is a large city in France.\n\n",
        "Paris is the capital and largest city of France.",
        "🐼 eats 🎋 all day",
        "巴黎是法国的首都。",
    ),
)
CHINESE = (
    "大熊猫吃什么?",
    (
        "苹果公司发布了新手机。",
        " 大熊猫主要吃竹子。 ",
        "",
        "🐼🎋",
        LONG,
        "苹果公司发布了新手机。",
        "Giant pandas eat bamboo.",
    ),
)
CASES = [pytest.param(ENGLISH, id="english"), pytest.param(CHINESE, id="chinese")]
Case = tuple[str, tuple[str, ...]]


every_client = pytest.mark.parametrize("client", [pytest.param(client, id=name) for name, client in CLIENTS.items()])


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No client may reach for anything but this machine: no telemetry, no price list, no tokenizer."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    reached: list[object] = []
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            reached.append(address)
            raise OSError(f"{address} is not on this machine")
        connect(self, address)

    def guarded_resolve(host: Any, *args: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", "::1", "localhost", b"127.0.0.1", None):
            reached.append(host)
            raise socket.gaierror(f"{host} is not on this machine")
        return resolve(host, *args, **options)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_resolve)
    yield
    # litellm's huggingface/ looks for the model's config.json there whatever it is told, and goes on without.
    assert [host for host in reached if host != "huggingface.co"] == []


@functools.cache
def expected(mini: Reranker, case: Case) -> list[Ranked]:
    _, documents = case
    return [Ranked(each.index, each.relevance_score, documents[each.index]) for each in mini.rank(*case, top_n=None)]


def read_by(client: Client, case: Case) -> Case:
    """Return the case, without the long document for a client that forbids to cut it."""
    query, documents = case
    return query, documents if client.cuts else tuple(text for text in documents if text != LONG)


def assert_same(got: list[Ranked], wanted: list[Ranked]) -> None:
    """Check for the same documents in the same order, the same scores, and each document's own text."""
    assert [each.index for each in got] == [each.index for each in wanted]
    assert [each.score for each in got] == pytest.approx([each.score for each in wanted], abs=TOLERANCE, rel=0)
    assert all(mine.text in (None, theirs.text) for mine, theirs in zip(got, wanted, strict=True))


@every_client
@pytest.mark.parametrize("case", CASES)
def test_ranks_as_the_library_does(client: Client, case: Case, server_url: str, mini: Reranker) -> None:
    case = read_by(client, case)
    assert_same(client.rank(Call(server_url, *case)), expected(mini, case))


def test_litellm_huggingface_forbids_cutting(server_url: str) -> None:
    """It sends `truncate: false`, to which TEI answers with an error if a text is too long."""
    litellm = package("litellm")
    with pytest.raises(litellm.APIError, match="Validation"):
        CLIENTS["litellm-huggingface"].rank(Call(server_url, *ENGLISH))


@every_client
@pytest.mark.parametrize("top_n", [3, 20])
def test_keeps_the_best(client: Client, top_n: int, server_url: str, mini: Reranker) -> None:
    case = read_by(client, ENGLISH)
    assert_same(client.rank(Call(server_url, *case, top_n=top_n)), expected(mini, case)[:top_n])


@every_client
def test_ranks_a_single_document(client: Client, server_url: str, mini: Reranker) -> None:
    case = (ENGLISH[0], ENGLISH[1][:1])
    assert_same(client.rank(Call(server_url, *case)), expected(mini, case))


@pytest.mark.parametrize("name", [name for name, client in CLIENTS.items() if client.keyless])
def test_needs_no_key_on_an_open_server(name: str, server_url: str, mini: Reranker) -> None:
    case = read_by(CLIENTS[name], ENGLISH)
    assert_same(CLIENTS[name].rank(Call(server_url, *case, key=None)), expected(mini, case))


@pytest.mark.parametrize("name", [name for name, client in CLIENTS.items() if client.keyed])
def test_the_right_key_is_let_in(name: str, guarded_url: str, mini: Reranker) -> None:
    case = read_by(CLIENTS[name], ENGLISH)
    assert_same(CLIENTS[name].rank(Call(guarded_url, *case, key=API_KEY)), expected(mini, case))


@every_client
def test_a_wrong_key_is_the_clients_own_error(client: Client, guarded_url: str) -> None:
    module, _, name = client.refused.partition(":")
    refused = getattr(package(module), name)
    with pytest.raises(refused) as raised:
        client.rank(Call(guarded_url, *ENGLISH, key=WRONG_KEY))
    if client.says:
        headers = {"Authorization": f"Bearer {WRONG_KEY}"} if client.keyed else {}
        response = httpx.post(f"{guarded_url}/rerank", json={}, headers=headers)
        assert response.status_code == 401
        assert response.json()["detail"] in str(raised.value)


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


@dataclass(frozen=True)
class Dialect:
    """A raw body: where it goes, how it names things, and where its answer keeps index and score."""

    path: str
    documents: str = "documents"
    query: str = "query"
    results: str | None = "results"
    score: str = "relevance_score"
    options: dict[str, Any] = field(default_factory=dict)
    wrap: Callable[[str], Any] = str
    wrap_query: Callable[[str], Any] = str
    per_pair: bool = False
    logits: bool = False

    def __call__(self, call: Call) -> list[Ranked]:
        query: Any = self.wrap_query(call.query)
        if self.per_pair:
            query = [query] * len(call.documents)
        body = {self.query: query, self.documents: [self.wrap(text) for text in call.documents], **self.options}
        response = httpx.post(call.url + self.path, json=body)
        assert response.status_code == 200, response.text
        rows = response.json() if self.results is None else response.json()[self.results]
        activate = sigmoid if self.logits else float
        return [Ranked(row["index"], activate(row[self.score])) for row in rows]


TEI = Dialect("/rerank", "texts", results=None, score="score")
SCORE = Dialect("/score", results="data", score="score")
CONTENT = [lambda text: {"content": [{"type": "text", "text": text}]}, lambda text: {"text": text}]
DIALECTS = {
    "tei": TEI,
    "tei-root": replace(TEI, path="/"),
    "tei-invocations": replace(TEI, path="/invocations"),
    "tei-v1": replace(TEI, path="/v1/rerank"),
    "tei-logits": replace(TEI, options={"raw_scores": True}, logits=True),
    "rerank": Dialect("/rerank"),
    "v1-rerank": Dialect("/v1/rerank"),
    "v2-rerank": Dialect("/v2/rerank"),
    "reranking": Dialect("/reranking"),
    "v1-reranking": Dialect("/v1/reranking"),
    "llama.cpp-texts": replace(TEI, path="/v1/reranking"),
    "infinity": Dialect("/infinity/rerank"),
    "infinity-logits": Dialect("/infinity/rerank", options={"raw_scores": True}, logits=True),
    "infinity-root-logits": Dialect("/rerank", options={"raw_scores": "true"}, logits=True),
    "vllm-logits": Dialect("/v1/rerank", options={"use_activation": False}, logits=True),
    "vllm-content": Dialect("/v1/rerank", wrap=CONTENT[0], wrap_query=CONTENT[0]),
    "jina-text": Dialect("/v1/rerank", wrap=CONTENT[1], wrap_query=CONTENT[1]),
    "xinference": Dialect("/v1/rerank", options={"return_documents": "true", "return_len": "true", "kwargs": "{}"}),
    "voyage": Dialect("/voyage/v1/rerank", results="data", options={"truncation": True}),
    "score": replace(SCORE, query="queries"),
    "v1-score": replace(SCORE, path="/v1/score", query="queries"),
    "score-text_1": replace(SCORE, query="text_1", documents="text_2"),
    "score-data_1": replace(SCORE, query="data_1", documents="data_2"),
    "score-items": replace(SCORE, query="queries", documents="items"),
    "score-pairs": replace(SCORE, query="text_1", documents="text_2", per_pair=True),
    "score-logits": replace(SCORE, query="queries", options={"use_activation": False}, logits=True),
}
WAYS: dict[str, Callable[[Call], list[Ranked]]] = {
    **{name: client.rank for name, client in CLIENTS.items()},
    **{f"raw-{name}": dialect for name, dialect in DIALECTS.items()},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_pair_has_one_score_whatever_the_dialect(way: str, server_url: str, mini: Reranker) -> None:
    case: Case = (ENGLISH[0], (*ENGLISH[1], *CHINESE[1]))
    query, documents = read_by(CLIENTS[way], case) if way in CLIENTS else case
    got = {each.index: each.score for each in WAYS[way](Call(server_url, query, documents))}
    scores = mini.score([(query, document) for document in documents])
    assert got == pytest.approx(dict(enumerate(scores.tolist())), abs=TOLERANCE, rel=0)


@pytest.mark.parametrize("name", DIALECTS)
def test_raw_bodies_take_any_character(name: str, server_url: str, mini: Reranker) -> None:
    query = "\u0000 capital\u0000 of\tFrance 🇫🇷\u200b? "
    documents = (
        "\u0000",
        "Paris\u0000 is the capital",
        "\ufeff🐼\U0001f1e8\U0001f1f3",
        " \r\n\u2028 ",
        "\ufffe\uffff",
        "x" * 9000,
    )
    got = {each.index: each.score for each in DIALECTS[name](Call(server_url, query, documents))}
    scores = mini.score([(query, document) for document in documents])
    assert got == pytest.approx(dict(enumerate(scores.tolist())), abs=TOLERANCE, rel=0)
