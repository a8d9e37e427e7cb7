from __future__ import annotations

from typing import Any

from rerankd.ranking.requests import build_request
from rerankd.retrieval.rag import Rag
from rerankd.types import Document, RankedDocument, RerankRequest, RerankResult, TruncationOverrides, Usage


async def test_the_ranking_has_the_instruction_of_the_template_and_its_warnings_are_kept() -> None:
    requests: list[RerankRequest] = []

    async def rank(request: RerankRequest) -> RerankResult:
        requests.append(request)
        ranked = RankedDocument(0, request.documents[0], 0.9, 2.0, 1, 1)
        return RerankResult((ranked,), "mini", Usage(1, 5, 0), {}, warnings=("ignored",))

    class Retriever:
        def search(self, query: str, k: int = 50) -> list[Document]:
            return [Document("A panda eats bamboo.", "a")]

        def close(self) -> None:
            pass

    def offsets(text: str) -> Any:
        return [(0, len(text))]

    rag = Rag(Retriever(), rank, offsets)
    template = build_request("q", [], truncation=TruncationOverrides(instruction="Retrieve."))
    result = await rag.search("q", request=template)
    assert requests[0].truncation.instruction == "Retrieve."
    assert result.warnings == ("ignored",)
    assert [passage.ranked.document.id for passage in result.passages] == ["a"]
