from __future__ import annotations

from dataclasses import replace

from rerankd.ranking.finish import RequestScores, finish
from rerankd.ranking.order import order_of
from rerankd.types import Adjustment, Document, MatchedRule, PairScore, RerankRequest, Usage

DOCUMENTS = [Document(f"text {number}", f"d{number}") for number in range(4)]
LOGITS = [0.0, 3.0, -2.0, 1.0]
SCORES = [PairScore(logit, 10 + number, number == 2) for number, logit in enumerate(LOGITS)]
REQUEST = RerankRequest("q", DOCUMENTS, request_id="req-1")
SCORED = RequestScores(
    SCORES, "mini", "v1", 512, {"tokenization": 1.0, "inference": 2.0, "total": 3.0}, cached=1, computed_tokens=9
)


def test_the_result_has_everything_that_the_caller_needs() -> None:
    result, _ = finish(replace(REQUEST, top_n=2), SCORED, rules="abc")
    assert [ranked.index for ranked in result] == [1, 3]
    assert result.usage == Usage(pairs=4, tokens=46, truncated=1)
    assert result.timings == {"tokenization": 1.0, "queue": 0.0, "inference": 2.0, "total": 3.0}
    assert (result.request_id, result.model, result.version, result.rules) == ("req-1", "mini", "v1", "abc")
    assert (result.computed_tokens, result.experiment) == (9, "")


def test_the_record_has_every_document_and_the_time() -> None:
    adjustments = [Adjustment(boost=9.0, matched_rules=(MatchedRule("r", "boost", 9.0),)), *[Adjustment()] * 3]
    result, record = finish(replace(REQUEST, top_n=1), SCORED, adjustments, rules="abc", now=7.0)
    assert [ranked.index for ranked in result] == [0]
    assert (record.scores, record.adjustments, record.rules, record.time) == (SCORES, adjustments, "abc", 7.0)
    assert (record.max_length, record.cached, record.timings) == (512, 1, result.timings)


def test_the_threshold_cuts_after_rules() -> None:
    result, _ = finish(
        replace(REQUEST, threshold=0.9),
        SCORED,
        [Adjustment(), Adjustment(boost=-3.0), Adjustment(pin_to=1), Adjustment()],
    )
    assert [ranked.index for ranked in result] == [2]


def test_an_interleaved_result_is_drawn_from_the_request_id() -> None:
    challenger = [replace(score, raw_score=-score.raw_score) for score in SCORES]
    scored = replace(SCORED, experiment="e", variant="interleaved", challenger_scores=challenger)
    result, record = finish(REQUEST, scored)
    assert result.experiment == "e/interleaved"
    assert (record.experiment, record.variant) == ("e", "interleaved")
    assert sorted(record.teams) == ["0", "0", "1", "1"]
    assert [ranked.index for ranked in result] == order_of(DOCUMENTS, record.scores)
    assert [ranked.raw_score for ranked in result] == sorted(LOGITS, reverse=True)
    assert finish(REQUEST, scored)[1] == record
    results = [finish(replace(REQUEST, request_id=f"r{number}"), scored)[0] for number in range(20)]
    assert len({tuple(ranked.index for ranked in other) for other in results}) > 1


def test_no_documents_are_no_results() -> None:
    result, record = finish(replace(REQUEST, documents=[]), replace(SCORED, scores=[]))
    assert (len(result), result.usage, record.teams) == (0, Usage(0, 0, 0), "")
