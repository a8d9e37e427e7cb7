"""Rerank clients that people use, each called through its own package."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

# Read when the packages are imported, which the clients below do when they are called.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
os.environ["LANGSMITH_TRACING"] = "false"


@dataclass(frozen=True)
class Ranked:
    """A result as a client gives it; `text` is None where it gives no document."""

    index: int
    score: float
    text: str | None = None


@dataclass(frozen=True)
class Call:
    """Request of a client."""

    url: str
    query: str
    documents: Sequence[str]
    top_n: int | None = None
    key: str | None = "any"


@dataclass(frozen=True)
class Client:
    """One package, one way to use it.

    Attributes:
        rank: makes the call.
        refused: the exception, as `module:name`, that a wrong key gives.
        says: whether the exception holds the server's sentence.
        keyless: whether it can be used without a key.
        keyed: whether it can send a key.
        cuts: whether it lets the server cut long documents.
    """

    rank: Callable[[Call], list[Ranked]]
    refused: str
    says: bool = True
    keyless: bool = False
    keyed: bool = True
    cuts: bool = True


def package(name: str) -> Any:
    """Import a client when it is used: some take seconds."""
    return importlib.import_module(name)


def cohere_v1(call: Call) -> list[Ranked]:
    with package("cohere").Client(call.key, base_url=call.url) as client:
        response = client.rerank(
            model="mini", query=call.query, documents=call.documents, top_n=call.top_n, return_documents=True
        )
    assert response.meta.api_version.version
    return [Ranked(each.index, each.relevance_score, each.document.text) for each in response.results]


def cohere_v2(call: Call) -> list[Ranked]:
    with package("cohere").ClientV2(call.key, base_url=call.url) as client:
        response = client.rerank(
            model="mini", query=call.query, documents=call.documents, top_n=call.top_n, max_tokens_per_doc=4096
        )
    return [Ranked(each.index, each.relevance_score) for each in response.results]


def voyage(call: Call) -> list[Ranked]:
    client = package("voyageai").Client(call.key, base_url=f"{call.url}/voyage/v1")
    response = client.rerank(call.query, list(call.documents), "mini", top_k=call.top_n)
    assert response.total_tokens > 0
    return [Ranked(each.index, each.relevance_score, each.document) for each in response.results]


@dataclass(frozen=True)
class LiteLLM:
    """litellm.rerank for one of its providers."""

    provider: str
    path: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, call: Call) -> list[Ranked]:
        litellm = package("litellm")
        litellm.telemetry = False
        litellm.disable_hf_tokenizer_download = True  # it counts tokens by a tokenizer named like the model
        response = litellm.rerank(
            model=f"{self.provider}/mini",
            query=call.query,
            documents=list(call.documents),
            top_n=call.top_n,
            api_base=call.url + self.path,
            api_key=call.key,
            **self.options,
        )
        documents = [each.get("document", {}).get("text") for each in response.results]
        wanted = self.options.get("return_documents", True)
        # An empty document is dropped on the way by some of litellm's providers.
        assert all((text is not None) == wanted or not text for text in documents)
        return [
            Ranked(each["index"], each["relevance_score"], text)
            for each, text in zip(response.results, documents, strict=True)
        ]


def langchain_cohere(call: Call) -> list[Ranked]:
    document = package("langchain_core.documents").Document
    reranker = package("langchain_cohere").CohereRerank(
        cohere_api_key=call.key, base_url=call.url, model="mini", top_n=call.top_n
    )
    documents = [
        document(page_content=text, metadata={"place": position}) for position, text in enumerate(call.documents)
    ]
    with reranker.client:
        compressed = reranker.compress_documents(documents, call.query)
    return [Ranked(each.metadata["place"], each.metadata["relevance_score"], each.page_content) for each in compressed]


def _llama_index(reranker: Any, call: Call) -> list[Ranked]:
    schema = package("llama_index.core.schema")
    nodes = [
        schema.NodeWithScore(node=schema.TextNode(text=text, id_=str(position)), score=0.5)
        for position, text in enumerate(call.documents)
    ]
    ranked = reranker.postprocess_nodes(nodes, query_str=call.query)
    return [Ranked(int(each.node.node_id), each.score, each.node.text) for each in ranked]


def llama_index_cohere(call: Call) -> list[Ranked]:
    reranker = package("llama_index.postprocessor.cohere_rerank").CohereRerank(
        top_n=call.top_n or len(call.documents), model="mini", api_key=call.key, base_url=call.url
    )
    with reranker._client:
        return _llama_index(reranker, call)


def llama_index_jina(call: Call) -> list[Ranked]:
    reranker = package("llama_index.postprocessor.jinaai_rerank").JinaRerank(
        top_n=call.top_n or len(call.documents), model="mini", api_key=call.key, base_url=f"{call.url}/v1"
    )
    with reranker._session:
        return _llama_index(reranker, call)


def llama_index_tei(call: Call) -> list[Ranked]:
    reranker = package("llama_index.postprocessor.tei_rerank").TextEmbeddingInference(
        top_n=call.top_n or len(call.documents), base_url=call.url, auth_token=call.key
    )
    return _llama_index(reranker, call)


def llama_index_xinference(call: Call) -> list[Ranked]:
    reranker = package("llama_index.postprocessor.xinference_rerank").XinferenceRerank(
        top_n=call.top_n or len(call.documents), model="mini", base_url=call.url
    )
    return _llama_index(reranker, call)


def _secret(key: str | None) -> Any:
    return None if key is None else package("haystack.utils").Secret.from_token(key)


def _haystack(ranker: Any, call: Call) -> list[Ranked]:
    document = package("haystack").Document
    documents = [document(id=str(position), content=text) for position, text in enumerate(call.documents)]
    ranked = ranker.run(query=call.query, documents=documents)
    if "meta" in ranked:
        assert ranked["meta"]["usage"]["total_tokens"] > 0
        assert ranked["meta"]["model"]
    return [Ranked(int(each.id), each.score, each.content) for each in ranked["documents"]]


def haystack_cohere(call: Call) -> list[Ranked]:
    ranker = package("haystack_integrations.components.rankers.cohere").CohereRanker(
        "mini", top_k=call.top_n or len(call.documents), api_key=_secret(call.key), api_base_url=call.url
    )
    ranker.warm_up()
    with ranker._cohere_client:
        return _haystack(ranker, call)


def haystack_jina(call: Call) -> list[Ranked]:
    ranker = package("haystack_integrations.components.rankers.jina").JinaRanker(
        "mini", api_key=_secret(call.key), top_k=call.top_n, base_url=f"{call.url}/v1/rerank"
    )
    return _haystack(ranker, call)


def haystack_tei(call: Call) -> list[Ranked]:
    ranker = package("haystack_integrations.components.rankers.huggingface_api").HuggingFaceTEIRanker(
        url=call.url, top_k=call.top_n or len(call.documents), token=_secret(call.key)
    )
    return _haystack(ranker, call)


def haystack_vllm(call: Call) -> list[Ranked]:
    ranker = package("haystack_integrations.components.rankers.vllm").VLLMRanker(
        model="mini", api_key=_secret(call.key), api_base_url=f"{call.url}/v1", top_k=call.top_n
    )
    with contextlib.closing(ranker):
        return _haystack(ranker, call)


@dataclass(frozen=True)
class Rerankers:
    """The `rerankers` package with one of its API providers; it always asks for every document."""

    provider: str
    path: str

    def __call__(self, call: Call) -> list[Ranked]:
        ranker = package("rerankers").Reranker(
            "mini", model_type=self.provider, api_key=call.key, url=call.url + self.path, verbose=0
        )
        ranked = ranker.rank(call.query, list(call.documents), doc_ids=list(range(len(call.documents))))
        kept = ranked.results if call.top_n is None else ranked.top_k(call.top_n)
        return [Ranked(each.document.doc_id, each.score, each.document.text) for each in kept]


UNAUTHORIZED = "cohere:UnauthorizedError"
CLIENTS = {
    "cohere-v1": Client(cohere_v1, UNAUTHORIZED),
    "cohere-v2": Client(cohere_v2, UNAUTHORIZED),
    "voyageai": Client(voyage, "voyageai.error:AuthenticationError"),
    "litellm-cohere": Client(LiteLLM("cohere"), "litellm:AuthenticationError"),
    "litellm-cohere-v2": Client(LiteLLM("cohere", options={"max_tokens_per_doc": 4096}), "litellm:AuthenticationError"),
    "litellm-hosted_vllm": Client(LiteLLM("hosted_vllm"), "litellm:AuthenticationError", keyless=True),
    "litellm-hosted_vllm-v1": Client(LiteLLM("hosted_vllm", "/v1/rerank"), "litellm:AuthenticationError", keyless=True),
    "litellm-infinity": Client(
        LiteLLM("infinity", "/infinity", {"return_documents": True}), "litellm:AuthenticationError", keyless=True
    ),
    "litellm-infinity-root": Client(
        LiteLLM("infinity", options={"return_documents": False}), "litellm:AuthenticationError", keyless=True
    ),
    "litellm-huggingface": Client(LiteLLM("huggingface"), "litellm:AuthenticationError", keyless=True, cuts=False),
    "litellm-jina_ai": Client(LiteLLM("jina_ai"), "litellm:AuthenticationError"),
    "litellm-voyage": Client(LiteLLM("voyage", "/voyage"), "litellm:AuthenticationError"),
    "langchain-cohere": Client(langchain_cohere, UNAUTHORIZED),
    "llama-index-cohere": Client(llama_index_cohere, UNAUTHORIZED),
    "llama-index-jina": Client(llama_index_jina, "builtins:RuntimeError", keyless=True),
    "llama-index-tei": Client(llama_index_tei, "builtins:AssertionError", says=False, keyless=True),
    "llama-index-xinference": Client(llama_index_xinference, "builtins:Exception", keyless=True, keyed=False),
    "haystack-cohere": Client(haystack_cohere, UNAUTHORIZED),
    "haystack-jina": Client(haystack_jina, "builtins:RuntimeError"),
    "haystack-tei": Client(haystack_tei, "builtins:RuntimeError", keyless=True),
    "haystack-vllm": Client(haystack_vllm, "builtins:RuntimeError", keyless=True),
    # They read the answer whatever its status.
    "rerankers-cohere": Client(Rerankers("cohere", "/v1/rerank"), "builtins:KeyError", says=False),
    "rerankers-jina": Client(Rerankers("jina", "/v1/rerank"), "builtins:KeyError", says=False),
    "rerankers-voyage": Client(Rerankers("voyage", "/voyage/v1/rerank"), "builtins:KeyError", says=False),
    "rerankers-tei": Client(Rerankers("text-embeddings-inference", "/rerank"), "builtins:TypeError", says=False),
}
