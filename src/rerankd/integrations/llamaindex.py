"""rerankd as a LlamaIndex node postprocessor."""

from __future__ import annotations

from rerankd._common.optional import require
from rerankd.errors import InvalidRequestError
from rerankd.integrations.ranker import LocalRanker, Ranker, kept

try:
    from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # re-exported implicitly
    from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
except ImportError:
    require("llama_index.core", "llamaindex", "RerankdPostprocessor")
    raise

from pydantic import Field, PrivateAttr

_dispatcher = get_dispatcher(__name__)


class RerankdPostprocessor(BaseNodePostprocessor):
    """A node postprocessor that keeps the nodes that answer the query, best first, scored by relevance.

    Args:
        reranker: a `Reranker`, a `Client`, or anything that ranks like them; None for a local one.
        model: model of the local reranker, loaded at first use; not used with `reranker`.
        top_n: number of documents to keep; None keeps all.
        score_threshold: lowest relevance score to keep; None keeps all.
        instruction: what counts as relevant, for models that read an instruction; None for the model's own.
        metadata_mode: which metadata the model reads with the text; that for embedding, as LlamaIndex's own rerankers.

    Raises:
        MissingDependencyError: on import, if llama-index-core is not installed.

    Example:
        >>> from llama_index.core.schema import TextNode
        >>> nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("A car.", "Pandas eat bamboo.")]
        >>> best = RerankdPostprocessor(top_n=1).postprocess_nodes(nodes, query_str="what do pandas eat?")
        >>> best[0].text
        'Pandas eat bamboo.'
    """

    reranker: Ranker | None = Field(default=None, exclude=True)
    model: str = "mini"
    top_n: int | None = Field(default=5, ge=1)
    score_threshold: float | None = None
    instruction: str | None = None
    metadata_mode: MetadataMode = MetadataMode.EMBED
    _local: LocalRanker = PrivateAttr()

    def model_post_init(self, context: object, /) -> None:
        """Prepare the local reranker, without loading it."""
        self._local = LocalRanker(self.model)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex stores the component."""
        return "RerankdPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not nodes:
            return []
        if query_bundle is None:
            raise InvalidRequestError(
                "RerankdPostprocessor was given no query.", hint="Pass query_bundle or query_str with the nodes."
            )
        ranker = self._local if self.reranker is None else self.reranker
        most = len(nodes) if self.top_n is None else self.top_n
        _dispatcher.event(ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=most, model_name=self.model))
        texts = [node.node.get_content(metadata_mode=self.metadata_mode) for node in nodes]
        best = [
            NodeWithScore(node=nodes[index].node, score=score)
            for index, score in kept(
                ranker, query_bundle.query_str, texts, self.top_n, self.score_threshold, self.instruction
            )
        ]
        _dispatcher.event(ReRankEndEvent(nodes=best))
        return best
