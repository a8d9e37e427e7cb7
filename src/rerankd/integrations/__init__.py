"""rerankd inside retrieval frameworks, one module each: `langchain`, `llamaindex` and `haystack`.

Each needs the extra of its name (an error gives the command that installs it) and takes a local `Reranker` or a remote
`Client`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.integrations.haystack import RerankdRanker
    from rerankd.integrations.langchain import RerankdCompressor
    from rerankd.integrations.llamaindex import RerankdPostprocessor
    from rerankd.integrations.ranker import LocalRanker, Ranker

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.integrations.haystack": ("RerankdRanker",),
        "rerankd.integrations.langchain": ("RerankdCompressor",),
        "rerankd.integrations.llamaindex": ("RerankdPostprocessor",),
        "rerankd.integrations.ranker": (
            "LocalRanker",
            "Ranker",
        ),
    },
)

__all__ = ["LocalRanker", "Ranker", "RerankdCompressor", "RerankdPostprocessor", "RerankdRanker"]
