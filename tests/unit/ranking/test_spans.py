from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd._common.timing import StepTimer
from rerankd.errors import InvalidRequestError
from rerankd.ranking import spans as module
from rerankd.ranking.activation import activate
from rerankd.ranking.finish import RequestScores, finish
from rerankd.ranking.requests import build_request
from rerankd.ranking.spans import MAX_SENTENCES, SpanPlanner, add_spans, check_spans
from rerankd.types import Document, PairScore, RankedDocument, RerankResult, SpanOptions

TEXT = "One is here. Two are. Three!"


def logit(text: str) -> float:
    return len(text) / 4 - 4


def ranked(texts: Sequence[str], options: SpanOptions | None = None, **fields: Any) -> tuple[RerankResult, list[str]]:
    """Return the result of a ranking whose scores are those of `logit`, and the sentences that were scored."""
    request = build_request("q", [Document(text) for text in texts], spans=options or SpanOptions(), **fields)
    scores = [PairScore(logit(text), 7, False) for text in texts]
    result, _ = finish(request, RequestScores(scores, "mini", "", 64, {"inference": 5.0}))
    asked: list[str] = []

    def score(groups: Sequence[tuple[str, Sequence[str]]], *, timer: StepTimer) -> list[list[PairScore]]:
        with timer.step("inference"):
            asked.extend(text for _, sentences in groups for text in sentences)
        return [[PairScore(logit(text), 3, text.startswith("cut")) for text in sentences] for _, sentences in groups]

    (spanned,) = add_spans([request], ["q"], [result], [scores], score)
    return spanned, asked


def sentences(document: RankedDocument) -> list[str]:
    assert document.spans is not None
    return [document.document.text[span.start : span.end] for span in document.spans]


def test_spans_are_the_sentences_with_their_own_scores() -> None:
    result, asked = ranked([TEXT, "Whole."], SpanOptions(0.0))
    assert [sentences(document) for document in result] == [["One is here.", "Two are.", "Three!"], ["Whole."]]
    assert asked == ["One is here.", "Two are.", "Three!"], "a document of one sentence is not scored again"
    spans = result[0].spans or ()
    assert [span.score for span in spans] == pytest.approx(activate([logit(text) for text in asked], "sigmoid"))
    assert [span.score for span in result[1].spans or ()] == [result[1].relevance_score]
    assert (result.usage.pairs, result.usage.sentences, result.usage.tokens) == (2, 3, 14 + 9)
    assert result.timings["inference"] > 5.0


def test_the_threshold_is_a_sigmoid_score_whatever_is_shown() -> None:
    for activation in ("sigmoid", "none"):
        result, _ = ranked(
            [TEXT], SpanOptions(float(activate([logit("Two are.")], "sigmoid")[0])), activation=activation
        )
        assert sentences(result[0]) == ["One is here.", "Two are."]
    assert [span.score for span in result[0].spans or ()] == [logit("One is here."), logit("Two are.")]
    assert ranked([TEXT], SpanOptions(1.0))[0][0].spans == ()


def test_the_best_are_kept_in_the_order_of_the_text() -> None:
    text = "Aa. Aaaa aaaa. Aaaaaa. Aaaa aaaa."
    result, _ = ranked([text], SpanOptions(0.0, max_spans=3))
    assert sentences(result[0]) == ["Aaaa aaaa.", "Aaaaaa.", "Aaaa aaaa."]
    result, _ = ranked([text], SpanOptions(0.0, max_spans=1))
    assert [span.start for span in result[0].spans or ()] == [4], "of equal ones the first"


def test_only_returned_documents_cost_something() -> None:
    texts = [f"{'A' * number} aa. Bb." for number in range(1, 9)]
    result, asked = ranked(texts, top_n=2)
    assert [document.index for document in result] == [7, 6]
    assert asked == ["AAAAAAAA aa.", "Bb.", "AAAAAAA aa.", "Bb."]
    assert ranked(texts, threshold=1.0)[1] == []


def test_documents_without_a_sentence() -> None:
    result, asked = ranked(["", " \n", "\u200b", "a"], SpanOptions(0.0))
    assert [document.spans for document in result if document.index < 3] == [(), (), ()]
    assert asked == []


def test_what_surrounds_a_document_is_not_part_of_the_sentence() -> None:
    result, asked = ranked(["  Whole.\n"], SpanOptions(0.0))
    assert asked == sentences(result[0]) == ["Whole."]


def test_cut_sentences_are_counted() -> None:
    assert ranked(["cut. cut. bb."])[0].usage.truncated == 2


def test_neighbours_are_joined_where_there_are_too_many() -> None:
    texts = ["Aa. " * (MAX_SENTENCES + 50), "Bb. " * 3]
    result, asked = ranked(texts, SpanOptions(0.0))
    by_index = {document.index: document for document in result}
    spans = by_index[0].spans or ()
    assert len(spans) == MAX_SENTENCES
    assert (spans[0].start, spans[-1].end) == (0, len(texts[0].rstrip()))
    assert len(by_index[1].spans or ()) == 3
    assert len(asked) == MAX_SENTENCES + 3
    (warning,) = result.warnings
    assert warning.startswith("relevant_spans of 1 document are several sentences long")


def test_all_documents_share_the_room_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REQUEST_SENTENCES", 20)
    result, asked = ranked(["Aa. " * 30, "Bb. " * 30, "Cc. Dd.", "Ee. Ff. Gg."], SpanOptions(0.0))
    counts = {document.index: len(document.spans or ()) for document in result}
    assert counts == {0: 7, 1: 7, 2: 2, 3: 3}
    assert len(asked) <= 20
    _, asked = ranked(["Aa. Bb. "] * 30, SpanOptions(0.0))
    assert asked == ["Aa. Bb."] * 30, "each document has one"


@given(st.lists(st.integers(0, 3000), max_size=60))
def test_the_room_of_a_request_is_kept(counts: list[int]) -> None:
    share = module._share(counts)
    assert 1 <= share <= MAX_SENTENCES
    assert sum(min(count, share) for count in counts) <= module.MAX_REQUEST_SENTENCES


def test_the_most_that_spans_cost_is_known_before() -> None:
    documents = [Document(text) for text in ("One. Two.", "Aa. Bb. Cc. Dd.", "Long and all whole")]
    planner = SpanPlanner()
    assert planner.largest(documents, 2) == ["Long and all whole", "Aa.", "Bb.", "Cc.", "Dd."]
    assert len(planner.largest(documents, None)) == 7


@pytest.mark.parametrize(
    ("options", "activation", "message"),
    [
        ({"threshold": 0.1}, "sigmoid", "spans is of type dict"),
        (True, "sigmoid", "spans is of type bool"),
        (SpanOptions(1.5), "sigmoid", "The threshold of spans is 1.5"),
        (SpanOptions(float("nan")), "sigmoid", "The threshold of spans is nan"),
        (SpanOptions(True), "sigmoid", "The threshold of spans is True"),
        (SpanOptions(max_spans=0), "sigmoid", "max_spans is 0"),
        (SpanOptions(), "softmax", "spans cannot be combined with a softmax"),
    ],
)
def test_what_cannot_be_used(options: Any, activation: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        check_spans(options, activation)
    with pytest.raises(InvalidRequestError, match=message):
        build_request("q", [], activation=activation, spans=options)
