"""The components in their real frameworks, over the bundled model and over a real server."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import haystack
import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document as LangChainDocument
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from rerankd import Client, Document, InvalidRequestError, Reranker, RerankResult
from rerankd._common.optional import install_command
from rerankd.integrations.haystack import RerankdRanker
from rerankd.integrations.langchain import RerankdCompressor
from rerankd.integrations.llamaindex import RerankdPostprocessor
from rerankd.integrations.ranker import LocalRanker, Ranker

QUERY = "what do pandas eat?"
TEXTS = ["Trains leave at nine.", "Pandas eat bamboo all day.", "The panda is a bear.", "Bread is baked."]


@pytest.fixture(scope="module", params=["local", "remote"])
def ranker(request: pytest.FixtureRequest) -> Iterator[Ranker]:
    """Return a Reranker, then a Client of a real server."""
    if request.param == "local":
        yield Reranker()
        return
    with Client(request.getfixturevalue("server_url")) as client:
        yield client


@pytest.fixture(scope="module")
def order() -> list[int]:
    return [ranked.index for ranked in Reranker().rank(QUERY, TEXTS, None)]


@pytest.fixture(scope="module")
def scores() -> list[float]:
    return [ranked.relevance_score for ranked in Reranker().rank(QUERY, TEXTS, None)]


class Idle:
    """Fails when it is asked anything."""

    def rank(self, query: str, documents: Sequence[Document], top_n: int | None, /) -> RerankResult:
        raise AssertionError("nothing was to be ranked")


class Everything(BaseRetriever):
    """Retrieves all texts."""

    documents: list[LangChainDocument]

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[LangChainDocument]:
        return self.documents


def test_the_client_ranks_like_the_reranker(server_url: str) -> None:
    local = Reranker()
    with Client(server_url, timeout=30) as client:
        assert client.ready()
        assert local.model in client.models()
        for activation in ("sigmoid", "none", "softmax"):
            here = local.rank(QUERY, TEXTS, 3, activation=activation)
            remote = client.rank(QUERY, TEXTS, 3, activation=activation)
            assert [ranked.index for ranked in remote] == [ranked.index for ranked in here]
            for one, other in zip(here, remote, strict=True):
                assert other.relevance_score == pytest.approx(one.relevance_score, abs=1e-5)
                assert other.raw_score == pytest.approx(one.raw_score, abs=1e-4)
            assert remote.request_id
            assert remote.usage.pairs == len(TEXTS)
        pairs = [(QUERY, text) for text in TEXTS]
        assert client.score(pairs).tolist() == pytest.approx(local.score(pairs).tolist(), abs=1e-5)
        with pytest.raises(InvalidRequestError):
            client.rank(QUERY, TEXTS, max_length=10**6)


def test_langchain(ranker: Ranker, order: list[int], scores: list[float]) -> None:
    documents = [LangChainDocument(text, id=str(i), metadata={"page": i}) for i, text in enumerate(TEXTS)]
    before = copy.deepcopy(documents)
    compressor = RerankdCompressor(reranker=ranker, top_n=2)
    chain = {"documents": Everything(documents=documents), "query": RunnablePassthrough()} | RunnableLambda(
        lambda kept: compressor.compress_documents(kept["documents"], kept["query"])
    )
    best = chain.invoke(QUERY)
    assert [document.id for document in best] == [str(i) for i in order[:2]]
    assert best[0].page_content == TEXTS[order[0]]
    assert best[0].metadata["page"] == order[0]
    assert [document.metadata["relevance_score"] for document in best] == pytest.approx(scores[:2], abs=1e-5)
    assert documents == before


async def test_langchain_async(ranker: Ranker, order: list[int]) -> None:
    documents = [LangChainDocument(text) for text in TEXTS]
    best = await RerankdCompressor(reranker=ranker, top_n=None).acompress_documents(documents, QUERY)
    assert [document.page_content for document in best] == [TEXTS[i] for i in order]


def test_llamaindex(ranker: Ranker, order: list[int], scores: list[float]) -> None:
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(i)), score=0.1 * i) for i, text in enumerate(TEXTS)]
    before = copy.deepcopy(nodes)
    best = RerankdPostprocessor(reranker=ranker, top_n=2).postprocess_nodes(nodes, QueryBundle(QUERY))
    assert [node.node.node_id for node in best] == [str(i) for i in order[:2]]
    assert [node.score for node in best] == pytest.approx(scores[:2], abs=1e-5)
    assert nodes == before


async def test_llamaindex_async(ranker: Ranker, order: list[int]) -> None:
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    best = await RerankdPostprocessor(reranker=ranker, top_n=None).apostprocess_nodes(nodes, query_str=QUERY)
    assert [node.text for node in best] == [TEXTS[i] for i in order]


@pytest.mark.parametrize(("mode", "read"), [(MetadataMode.EMBED, "topic: bears\n\nIt."), (MetadataMode.NONE, "It.")])
def test_llamaindex_reads_the_metadata_that_is_embedded(mode: MetadataMode, read: str) -> None:
    seen: list[str] = []

    class Seeing(LocalRanker):
        def rank(
            self, query: str, documents: Sequence[Document], top_n: int | None, /, *, instruction: str | None = None
        ) -> RerankResult:
            seen.extend(document.text for document in documents)
            return super().rank(query, documents, top_n, instruction=instruction)

    node = TextNode(text="It.", metadata={"topic": "bears", "file": "x"}, excluded_embed_metadata_keys=["file"])
    postprocessor = RerankdPostprocessor(reranker=Seeing("mini"), metadata_mode=mode)
    assert postprocessor.postprocess_nodes([NodeWithScore(node=node)], query_str=QUERY)[0].node is node
    assert seen == [read]


def test_haystack(ranker: Ranker, order: list[int], scores: list[float]) -> None:
    documents = [haystack.Document(content=text, meta={"page": i}) for i, text in enumerate(TEXTS)]
    before = copy.deepcopy(documents)
    pipeline = haystack.Pipeline()
    pipeline.add_component("ranker", RerankdRanker(reranker=ranker, top_k=2))
    best = pipeline.run({"ranker": {"query": QUERY, "documents": documents}})["ranker"]["documents"]
    assert [document.id for document in best] == [documents[i].id for i in order[:2]]
    assert [document.meta["page"] for document in best] == order[:2]
    assert [document.score for document in best] == pytest.approx(scores[:2], abs=1e-5)
    assert documents == before


@pytest.mark.parametrize("where", ["local", "remote"])
def test_haystack_pipelines_are_saved_and_loaded(
    where: str, order: list[int], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RERANKD_API_KEY", "rk-very-secret")
    url = request.getfixturevalue("server_url") if where == "remote" else None
    pipeline = haystack.Pipeline()
    pipeline.add_component("ranker", RerankdRanker(url=url, top_k=3, score_threshold=0.0))
    saved = pipeline.dumps()
    assert "rk-very-secret" not in saved
    loaded = haystack.Pipeline.loads(saved, allowed_modules=["rerankd.integrations.haystack"])
    assert loaded.dumps() == saved
    loaded.warm_up()
    documents = [haystack.Document(content=text) for text in TEXTS]
    best = loaded.run({"ranker": {"query": QUERY, "documents": documents}})["ranker"]["documents"]
    assert [document.content for document in best] == [TEXTS[i] for i in order[:3]]
    component: Any = loaded.get_component("ranker")
    component.close()


def test_haystack_run_overrides() -> None:
    ranker = RerankdRanker("mini", top_k=None, api_key=None)
    documents = [haystack.Document(content=text) for text in TEXTS]
    assert len(ranker.run(QUERY, documents)["documents"]) == 4
    assert len(ranker.run(QUERY, documents, top_k=1)["documents"]) == 1
    assert ranker.run(QUERY, documents, score_threshold=1.1)["documents"] == []
    assert len(ranker.run(QUERY, [haystack.Document(content=None)])["documents"]) == 1


def test_haystack_objects_are_not_saved() -> None:
    with pytest.raises(InvalidRequestError, match="cannot be saved. Make it with model or url"):
        RerankdRanker(reranker=Idle()).to_dict()
    with pytest.raises(InvalidRequestError, match="Pass reranker, or model and url"):
        RerankdRanker("mini", reranker=Idle())


def test_nothing_to_rank_needs_no_ranker() -> None:
    idle = Idle()
    assert RerankdCompressor(reranker=idle).compress_documents([], QUERY) == []
    assert RerankdPostprocessor(reranker=idle).postprocess_nodes([]) == []
    assert RerankdRanker(reranker=idle).run(QUERY, []) == {"documents": []}


def test_thresholds(order: list[int], scores: list[float]) -> None:
    threshold = (scores[0] + scores[1]) / 2
    documents = [LangChainDocument(text) for text in TEXTS]
    (best,) = RerankdCompressor(score_threshold=threshold).compress_documents(documents, QUERY)
    assert best.page_content == TEXTS[order[0]]
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    (node,) = RerankdPostprocessor(score_threshold=threshold).postprocess_nodes(nodes, query_str=QUERY)
    assert node.text == TEXTS[order[0]]


def test_llamaindex_without_a_query() -> None:
    with pytest.raises(InvalidRequestError, match="was given no query. Pass query_bundle or query_str"):
        RerankdPostprocessor().postprocess_nodes([NodeWithScore(node=TextNode(text="a"))])


@pytest.mark.parametrize("kind", [RerankdCompressor, RerankdPostprocessor])
def test_bad_arguments(kind: Any) -> None:
    for arguments in ({"reranker": "mini"}, {"top_n": 0}):
        with pytest.raises(ValueError, match="Ranker|greater than or equal to 1"):
            kind(**arguments)


def test_local_models_are_loaded_once_and_late() -> None:
    local = LocalRanker("mini")
    assert local._loaded is None
    assert local.load() is local.load()


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("langchain", "langchain_core", "langchain"),
        ("llamaindex", "llama_index.core", "llamaindex"),
        ("haystack", "haystack", "haystack"),
    ],
)
def test_missing_frameworks(module: str, missing: str, extra: str) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from rerankd import MissingDependencyError\n"
        f"try: import rerankd.integrations.{module}\n"
        "except MissingDependencyError as error: print(error)"
    )
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"which is not installed. Run: {install_command(extra)}" in completed.stdout
