"""rerankd as a LangChain document compressor."""

from __future__ import annotations

from collections.abc import Sequence

from rerankd._common.optional import require
from rerankd.integrations.ranker import LocalRanker, Ranker, kept

try:
    from langchain_core.callbacks import Callbacks
    from langchain_core.documents import BaseDocumentCompressor, Document
except ImportError:
    require("langchain_core", "langchain", "RerankdCompressor")
    raise

from pydantic import ConfigDict, Field, PrivateAttr


class RerankdCompressor(BaseDocumentCompressor):
    """A document compressor that keeps the documents that answer the query, with `metadata["relevance_score"]`.

    Use it wherever LangChain takes a compressor, such as the `base_compressor` of a `ContextualCompressionRetriever`.

    Args:
        reranker: a `Reranker`, a `Client`, or anything that ranks like them; None for a local one.
        model: model of the local reranker, loaded at first use; not used with `reranker`.
        top_n: number of documents to keep; None keeps all.
        score_threshold: lowest relevance score to keep; None keeps all.
        instruction: what counts as relevant, for models that read an instruction; None for the model's own.

    Raises:
        MissingDependencyError: on import, if langchain-core is not installed.

    Example:
        >>> compressor = RerankdCompressor(top_n=1)
        >>> documents = [Document("A car."), Document("Pandas eat bamboo.", metadata={"page": 3})]
        >>> best = compressor.compress_documents(documents, "what do pandas eat?")
        >>> best[0].page_content, best[0].metadata["page"]
        ('Pandas eat bamboo.', 3)
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    reranker: Ranker | None = Field(default=None, exclude=True)
    model: str = "mini"
    top_n: int | None = Field(default=5, ge=1)
    score_threshold: float | None = None
    instruction: str | None = None
    _local: LocalRanker = PrivateAttr()

    def model_post_init(self, context: object, /) -> None:
        """Prepare the local reranker without loading it."""
        self._local = LocalRanker(self.model)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Rank documents; `acompress_documents` does it in a thread.

        Args:
            documents: the candidates; they are not changed.
            query: the question.
            callbacks: part of LangChain's interface, not used.

        Returns:
            Copies of the kept documents, best first, with `relevance_score` in their metadata.
        """
        ranker = self._local if self.reranker is None else self.reranker
        texts = [document.page_content for document in documents]
        return [
            documents[index].model_copy(update={"metadata": {**documents[index].metadata, "relevance_score": score}})
            for index, score in kept(ranker, query, texts, self.top_n, self.score_threshold, self.instruction)
        ]
