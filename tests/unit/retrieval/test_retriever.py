from __future__ import annotations

from rerankd.retrieval.retriever import reciprocal_rank_fusion
from rerankd.types import Document


def test_fusion_counts_both_rankings_and_keeps_each_document_once() -> None:
    a, b, c = (Document(name, name) for name in "abc")
    fused = reciprocal_rank_fusion([[a, b, c], [c, b]], 2)
    assert [one.id for one in fused] == ["c", "b"]
    assert fused[0].metadata["score"] == 1 / 63 + 1 / 61
    assert reciprocal_rank_fusion([[], []], 5) == []
