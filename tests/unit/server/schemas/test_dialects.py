from __future__ import annotations

from rerankd.errors import (
    AuthenticationError,
    InvalidRequestError,
    OverloadedError,
    RerankdError,
    ScoringError,
    UnavailableError,
)
from rerankd.ranking.order import rank_documents, usage_of
from rerankd.server.schemas import dialects
from rerankd.types import Document, PairScore, RerankResult

SCORES = [PairScore(-1.0, 5, False), PairScore(2.0, 7, True)]
RETURNED = [{"title": "A"}, {"text": "b", "title": "B"}]
RESULT = RerankResult(
    rank_documents([Document("a"), Document("b")], SCORES, None, "none"),
    "mini",
    usage_of(SCORES),
    {"queue": 1.0},
    "id-1",
)


def test_union_leaves_out_what_some_client_trips_over() -> None:
    response = dialects.union_response(RESULT, returned=None, version="2")
    assert "object" not in response
    assert response["results"] == [{"index": 1, "relevance_score": 2.0}, {"index": 0, "relevance_score": -1.0}]
    assert response["usage"] == {"prompt_tokens": 12, "total_tokens": 12}
    assert response["meta"]["billed_units"] == {"search_units": 1}
    assert "warnings" not in response["meta"]
    with_texts = dialects.union_response(
        RESULT, returned=RETURNED.__getitem__, version="1", warnings=["w"], explain=True
    )
    assert with_texts["results"][0] == {
        "index": 1,
        "relevance_score": 2.0,
        "document": {"text": "b", "title": "B"},
        "raw_score": 2.0,
        "truncated": True,
        "chunks": 1,
        "rules": [],
    }
    assert with_texts["meta"]["warnings"] == ["w"]
    assert with_texts["usage"] | {} == {"prompt_tokens": 12, "total_tokens": 12, "pairs": 2, "truncated": 1}


def test_plain_documents_where_they_are_expected() -> None:
    assert dialects.infinity_response(RESULT, returned=RETURNED.__getitem__)["results"][0]["document"] == "b"
    assert dialects.voyage_response(RESULT, returned=RETURNED.__getitem__)["data"][1]["document"] == "a"
    assert dialects.tei_response(RESULT, texts=True)[0] == {"index": 1, "score": 2.0, "text": "b"}
    assert dialects.tei_response(RESULT, texts=False)[0] == {"index": 1, "score": 2.0}


def test_errors_in_the_words_of_tei() -> None:
    cases: list[tuple[RerankdError, int, str]] = [
        (dialects.EmptyDocumentsError("texts"), 400, "Empty"),
        (InvalidRequestError("x"), 422, "Validation"),
        (ScoringError("x"), 424, "Backend"),
        (OverloadedError("x"), 429, "Overloaded"),
        (UnavailableError("x"), 503, "Unhealthy"),
        (AuthenticationError("x"), 401, "Validation"),
        (RerankdError("x"), 500, "Backend"),
    ]
    for error, status, kind in cases:
        code, body = dialects.error_body(error, "tei", "id")
        assert (code, body["error_type"]) == (status, kind)
        assert isinstance(body["error"], str)


def test_errors_in_the_union_are_read_by_all() -> None:
    status, body = dialects.error_body(InvalidRequestError("No.", hint="Yes."), "union", "id")
    assert status == 400
    assert body["detail"] == body["message"] == body["error"]["message"] == "No. Yes."
    assert body["error"]["code"] == "invalid_request"


def test_errors_for_voyage_hold_the_detail_only() -> None:
    errors: list[RerankdError] = [InvalidRequestError("No.", hint="Yes."), OverloadedError("x")]
    for error in errors:
        assert dialects.error_body(error, "voyage", "id") == (error.status, {"detail": str(error)})
