"""Spans of the library: with the bundled model, each sentence has the score of its pair."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rerankd import AsyncReranker, Reranker, RerankResult, SpanOptions
from rerankd.types import RankingRecord

pytestmark = pytest.mark.slow  # a model is loaded, once

QUERY = "What is the capital of France?"
DOCUMENTS = [
    "Berlin is large. Paris is the capital of France. 巴黎是法国的首都。\n\nIt rains 🐼.",
    "Pears are fruit.",
    "  Paris is the capital of France.\n",
    "",
    "Paris is the capital of France.",
]
EVERY = SpanOptions(threshold=0.0)


@pytest.fixture(scope="module")
def mini() -> Reranker:
    return Reranker("mini")


def pairs(result: RerankResult, query: str = QUERY) -> dict[tuple[str, str], float]:
    """Return the score of each span by its pair."""
    return {
        (query, document.document.text[span.start : span.end]): span.score
        for document in result
        for span in document.spans or ()
    }


def test_a_span_has_the_score_of_its_pair(mini: Reranker) -> None:
    for activation in ("sigmoid", "none"):
        result = mini.rank(QUERY, DOCUMENTS, None, activation=activation, spans=EVERY)
        spans = pairs(result)
        assert len(spans) == 5
        scores = mini.score(list(spans), activation=activation)
        np.testing.assert_allclose(list(spans.values()), scores, atol=1e-6, rtol=0)
        whole = next(document for document in result if document.index == 4)
        assert [span.score for span in whole.spans or ()] == [whole.relevance_score]


def test_a_ranking_is_the_same_with_spans(mini: Reranker) -> None:
    plain, spanned = mini.rank(QUERY, DOCUMENTS, 3), mini.rank(QUERY, DOCUMENTS, 3, spans=SpanOptions())
    rows = plain.to_dict()["results"], spanned.to_dict()["results"]
    assert [row | {"spans": None} for row in rows[0]] == [row | {"spans": None} for row in rows[1]]
    assert all(document.spans is None for document in plain)
    assert "spans" not in rows[0][0]
    assert "sentences" not in plain.to_dict()["usage"]
    assert json.loads(json.dumps(rows[1][0]["spans"])) == rows[1][0]["spans"]
    assert spanned.usage.pairs == plain.usage.pairs
    assert spanned.usage.tokens > plain.usage.tokens
    assert spanned.timings["total"] > 0
    assert "spans" in spanned.to_pandas().columns
    assert "spans" not in plain.to_pandas().columns


def test_only_good_sentences_are_spans(mini: Reranker) -> None:
    result = mini.rank(QUERY, DOCUMENTS[:1], spans=SpanOptions(threshold=0.5, max_spans=1))
    ((_, sentence),) = pairs(result)
    assert sentence in ("Paris is the capital of France.", "巴黎是法国的首都。")


async def test_batches_and_asyncio(mini: Reranker) -> None:
    queries = [QUERY, "Which fruit?"]
    async with AsyncReranker(mini) as reranker:
        results = await reranker.rank_batch(queries, [DOCUMENTS, DOCUMENTS[:2]], None, spans=EVERY)
    alone = [mini.rank(QUERY, DOCUMENTS, None, spans=EVERY), mini.rank(queries[1], DOCUMENTS[:2], None, spans=EVERY)]
    for query, result, other in zip(queries, results, alone, strict=True):
        assert pairs(result, query) == pytest.approx(pairs(other, query), abs=1e-6)


def test_long_documents_in_chunks_and_a_short_max_length() -> None:
    mini = Reranker("mini", max_length=32, long_documents="chunk", chunk_overlap=4)
    text = "This says nothing at all about it. " * 30 + QUERY + " Paris is the capital of France."
    result = mini.rank(QUERY, [text], spans=SpanOptions(threshold=0.5))
    spans = pairs(result)
    assert (QUERY, "Paris is the capital of France.") in spans
    np.testing.assert_allclose(list(spans.values()), mini.score(list(spans)), atol=1e-6, rtol=0)


class Recorded:
    def __init__(self) -> None:
        self.records: list[RankingRecord] = []

    def record(self, ranking: RankingRecord) -> None:
        self.records.append(ranking)


def test_rules_and_traces(tmp_path: Path) -> None:
    """A boost moves the document; the sentence keeps the score of its pair, with the synonyms of the rules."""
    pytest.importorskip("yaml")
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "rules:\n"
        "  - name: pears\n    documents: {terms: [pears]}\n    boost: 2\n"
        "  - name: capitals\n    synonyms: [capital, seat of government]\n"
    )
    recorder = Recorded()
    reranker = Reranker("mini", rules=rules, recorder=recorder)
    result = reranker.rank(QUERY, DOCUMENTS, None, spans=EVERY)
    boosted = next(document for document in result if document.index == 1)
    (span,) = boosted.spans or ()
    assert boosted.relevance_score > span.score
    asked = reranker.rules.expand_query(QUERY)
    assert asked != QUERY
    assert span.score == pytest.approx(reranker.score([(asked, DOCUMENTS[1])])[0], abs=1e-6)
    (record,) = recorder.records
    assert len(record.scores) == len(DOCUMENTS)
